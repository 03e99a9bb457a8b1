// Package quota bounds what clients may ask of a broker: bytes that they produce and fetch, the time that their requests take, partitions that they
// create and delete, connections that they open (KIP-13, 55, 124, 599, 612).
//
//	image: limits by entity ──Follow──▶ rules ──▶ Meter of a user and client id ──▶ up to four quotas, shared as the rules say
//	                                                  │ Spend what went
//	                                                  ▼ Owed: the throttle time, which the answer tells and the connection is muted for (KIP-219)
//
// A limit holds for an entity. Of all that match a client the most particular one counts:
//
//	user and client id, user and default client, user, default user and client id, default user and default client, default user, client id, default client
//
// All clients of a user share what is set for the user; what is set for a default, each that it stands for has for itself. Every broker counts for
// itself, as in Kafka.
//
// Limits lie in the image as configurations of a resource of their own, so that they need nothing there that topics' and groups' do not; see Entity.
//
// What must stay true: as long as no limit is set nothing is counted; what is remembered of clients is bounded, however many ids they make up.
//
// Start reading at Quotas.
package quota

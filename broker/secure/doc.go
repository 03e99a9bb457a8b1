// Package secure is TLS as brokers use it: what a listener shows and whom it trusts, kept current while files change, who
// the other end is, and connections whose ciphertext goes out in few system calls.
//
//	ssl.* keys ─▶ Settings ──load──▶ material ──▶ Identity ──ServerConfig──▶ listeners
//	                          ▲  (immutable, swapped)     └───DialConfig────▶ other brokers
//	files ──poll every 10 s───┘  what is broken leaves the old one in place
//
//	settings.go   Settings, and what their files hold
//	identity.go   an Identity: what is in use now, and its successor
//	role.go       the broker's role in a certificate, which is what may speak Raft
//	principal.go  the name of a client, by its certificate
//	explain.go    what a failed handshake means, and what to do about it
//	conn.go       a TLS connection that can keep what is to be sent for somebody else to send
//
// What must stay true:
//
//   - Without a role there is no word between brokers: any certificate of the same CA is a client's, until it says broker.
//   - A file that is missing, half written or does not fit its key never takes a working certificate out of use.
//   - A private key, or its password, is in no message.
//
// Certificates for trying it come from the package issue.
package secure

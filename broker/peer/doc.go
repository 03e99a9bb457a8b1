// Package peer carries everything between brokers over one listener each: Raft's own connections, and the private API with
// the Kafka requests that replicas send.
//
//	dialer                                    acceptor (cluster.listener)
//	  │ "QANAT" hello: kind, cluster, node, ──▶ │ version? bounded, with a deadline
//	  │         wanted node, directory, nonce   │
//	  │ ◀── challenge: who answers, nonce,      │
//	  │               proof of the join token   │
//	  │ proof of the join token ──────────────▶ │ cluster? node? token? stale directory? (Config.Check)
//	  │ ◀── welcome, or a refusal in words      │
//	  ▼                                         ▼
//	Dial, Client ═══ the raw connection ═══▶ Raft() │ Peers()  by kind
//	                                                   └─▶ broker/server ─▶ Mux (private keys) │ broker/api (Fetch)
//
//	keys.go       the private API: every key there is
//	preamble.go   the handshake's bytes
//	handshake.go  both sides of it
//	hub.go        a broker's listener, its streams by kind, its dialer
//	client.go     requests to other brokers, pipelined, one connection each
//	link.go       that connection
//	tls.go        TLS below all that: certificates on both sides, with the broker's role
//	mux.go        private requests on their way to their handlers
//	probe.go      is it dead, silent, or somebody else?
//
// What must stay true:
//
//   - Nothing is handed to Raft or to a handler before the handshake is over: the same cluster, the node that was meant, the
//     token, a directory that has not been replaced.
//   - With TLS nobody is spoken to whose certificate is not a broker's, and that node's if it names one.
//   - What is read before that is bounded, and so is the time that it takes. Who is not a broker is cut off and disturbs nobody.
//   - A refusal names cause and remedy, and its form stays readable for every other version of the handshake.
//   - A request that has failed may have been carried out. Whoever sends it must be able to send it again.
//
// A Client has one connection to each broker, and a large answer on it delays the small ones behind: replication wants a
// Client of its own (Hub.NewClient).
//
// Start reading at hub.go.
package peer

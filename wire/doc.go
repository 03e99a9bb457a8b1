// Package wire is the Kafka protocol's outer shape: the table of APIs and versions served, frames and their buffers,
// headers, guarded decoding, and the Fetch response around runs of batches that nobody copies.
//
//	int32 size │ int16 key │ int16 version │ int32 correlation id │ nullable string client id │ tags (flexible) │ body
//	           └────────────────────────── Header ───────────────────────────────────────────────────────────┘ └ kmsg
//
//	server ── ParseHeader ──▶ Header.Decode ──▶ Exchange ── Handler.Handle ──▶ … ── Exchange.Reply ──▶ server
//	            the table       guard, kmsg                   broker/api             any goroutine
//
// What must stay true:
//
//   - Nothing is decoded that is not in the table, in a version that the table names.
//   - Nothing is given to kmsg that the guard has not walked: kmsg allocates what an array's length asks for, and loops as
//     often as a count of tags says.
//   - A request's Records alias its frame. The frame belongs to the exchange until Reply, and to nobody afterwards.
//   - Every Reply happens once. Every run of a FetchResponse is released once, whatever happens to the connection.
//
// Start at table.go, then exchange.go; guard.go and its schema_gen.go say what a well-formed request is, fetch.go how a
// Fetch response is laid out.
package wire

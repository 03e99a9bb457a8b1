// Package api answers requests: one file per API key, headed by its behaviour
// and its KIPs, each find → call → translate errors.
//
//	wire.Exchange ─▸ Handler.Handle ─▸ handlers[key]
//	                                      │
//	     metadata ◂── quorum.Image ◂──────┤  topics, brokers, configs, view.go
//	     commands ──▸ quorum.Propose ◂────┤  created, altered, deleted
//	     records  ──▸ partition.Produce ◂─┤  answered by produceCall
//	     records  ◂── partition.Read  ◂───┤  parked in a fetcher
//	     groups   ◂─▸ coordinator  ◂──────┘
//
// What must stay true:
//
//   - Every exchange is answered exactly once, whatever it asks.
//   - A handler runs on its connection's reading goroutine. What must be in
//     the order of requests has happened when it returns; what takes time is
//     answered later, from elsewhere. Only administrative requests wait in line,
//     bounded by their own timeout and by their connection's end.
//   - No goroutine and no poll per parked request.
//   - Every run of a fetch is either in an answer or released.
//   - Errors become codes in errors.go and nowhere else.
//
// The package keeps no state but fetch sessions, what is prepared from the
// image (view.go), and the rest of a block of producer ids.
//
// Start reading at Handler, then produce.go; the fetch path is fetch.go (the
// request and the answer), fetch_fetcher.go (waiting), fetch_slot.go (one
// partition), fetch_session.go (KIP-227).
package api

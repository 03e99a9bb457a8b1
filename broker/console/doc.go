// Package console is the broker's admin port: health for whoever watches the
// process, metrics for whoever scrapes it, and the JSON that the command line asks for.
//
//	GET  /               what is here
//	GET  /livez          200 while the process works
//	GET  /readyz         200 while clients are served as they should be; else 503 and why
//	GET  /metrics        Prometheus or OpenMetrics
//	GET  /v1/status      who this broker is
//	GET  /v1/brokers     the cluster's brokers; POST /v1/brokers/{id}/drain empties one
//	GET  /v1/quorum      the metadata quorum
//	GET  /v1/cluster     how the cluster is, and what is wrong
//	GET  /v1/balance     what would balance the cluster; POST moves it
//	POST /v1/throttle    bound what moves copy
//	POST /v1/partitions/transfer  give a leadership to another replica
//	GET  /v1/storage     hot and cold ranges of every partition; ?topic=NAME
//	GET  /v1/tier        uploads, backlog, errors, requests to the bucket; POST /v1/tier/sweep deletes orphans
//	GET  /v1/scrub       how far the checks of local segments are; POST checks now
//	GET  /debug/pprof/   when admin.pprof.enable
//
// The types in types.go are the API: fields are added, never changed.
//
// What must stay true:
//
//   - A request is answered only under a Host that is this machine's or was
//     allowed, and one that changes something only from the same origin: a web
//     page in the operator's browser must not reach the port (DNS rebinding, CSRF).
//   - Nothing here can end the broker: panics are contained, connections, bodies and times bounded.
//   - It keeps no state: everything is asked of the Backend.
//
// Start reading at Server.routes; what answers is package admin.
package console

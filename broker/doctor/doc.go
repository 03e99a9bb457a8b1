// Package doctor looks at what a broker will stand on, before it starts or beside it: the disk, the limits of the process, the
// clock, the other brokers, the bucket and the certificates. Each finding says what was seen and, where something is wrong,
// what to do.
//
//	disk.go     how fast a flush is, how fast a stream; room; limits
//	network.go  the others, with TLS if they speak it; certificates
//	bucket.go   put, head, get, list, delete: which right is missing; the store's clock
//
// What must stay true: it changes nothing. What it writes to disk and bucket it removes, or says that it could not; a broker
// that runs on the same directory is not disturbed but for the disk's time.
package doctor

// Package object is the bucket: five verbs over immutable objects, with
// drivers for a directory, S3 through aws-sdk-go-v2, S3-compatible stores
// through minio-go, memory, and a wrapper that injects faults. All of them
// pass the one acceptance test in package object/objecttest.
//
// What must stay true: an object is never overwritten by Qanat (names are
// never reused), so a read needs no consistency beyond read-after-write.
package object

// Package segment is the one segment format, on disk and in the bucket.
package segment

package batch

import "io"

// Run is a run of batches, ready to be sent, that nobody has copied: a range
// of a file, or bytes in memory. Batches are contiguous in offset order; the
// last one may be cut short, which clients expect and ignore.
//
// Whoever is given a Run calls Release exactly once, after the last byte was
// sent; until then the file stays open and the memory is not reused.
type Run struct {
	Bytes []byte   // the batches, when they are in memory
	File  FileView // else the file that holds them
	Pos   int64    // where in File
	N     int      // how many bytes; equals len(Bytes) when in memory
	Hold  Holder   // may be nil
}

// FileView is what sending from a file needs.
type FileView interface {
	io.ReaderAt
	// Descriptor is the operating system's descriptor for sendfile; ok is
	// false for files that have none (in memory).
	Descriptor() (fd int, ok bool)
}

// Holder keeps what a Run points to alive until it is released.
type Holder interface{ Release() }

// Len is the number of bytes in the run.
func (r Run) Len() int { return r.N }

// Release lets go of what the run holds. The zero Run may be released.
func (r Run) Release() {
	if r.Hold != nil {
		r.Hold.Release()
	}
}

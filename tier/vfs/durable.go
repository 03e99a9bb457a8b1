package vfs

import "unsafe"

// Alignment is what memory, positions and lengths of uncached reads and durable writes must be multiples of: the largest block size that disks have.
const Alignment = 4096

// Aligned is memory for them.
func Aligned(n int) []byte {
	raw := make([]byte, n+Alignment)
	skip := (Alignment - int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))%Alignment)) % Alignment
	return raw[skip : skip+n : skip+n]
}

// OpenDurable opens a file, which may exist, for writes that are durable when they return, past the page cache where the file system can do that.
// Memory, positions and lengths are aligned.
func OpenDurable(fsys FS, name string) (File, error) {
	if d, ok := fsys.(interface {
		OpenDurable(name string) (File, error)
	}); ok {
		return d.OpenDurable(name)
	}
	f, err := fsys.OpenRW(name)
	if err != nil {
		return nil, err
	}
	return durableFile{f}, nil
}

// durableFile syncs after every write.
type durableFile struct{ File }

// WriteAt implements File.
func (f durableFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	if err == nil {
		err = f.Sync()
	}
	return n, err
}

//go:build !linux

package vfs

// WriteVAt implements File.
func (f *osFile) WriteVAt(bufs [][]byte, off int64) error { return f.writeEach(bufs, off) }

// Sync implements File. On Darwin os.File.Sync is F_FULLFSYNC, which is what reaches the platter.
func (f *osFile) Sync() error { return f.File.Sync() }

// Allocate implements File: not here.
func (f *osFile) Allocate(int64) error { return nil }

// Forget implements File: not here.
func (f *osFile) Forget() error { return nil }

// WriteBack implements File: not here.
func (f *osFile) WriteBack(int64, int64) error { return nil }

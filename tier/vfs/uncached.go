package vfs

import "io"

// OpenUncached opens a file for reading what is on the disk, not what the page cache has of it, and without leaving
// anything there. Where the file system cannot do that it is Open.
func OpenUncached(fsys FS, name string) (File, error) {
	if u, ok := fsys.(interface {
		OpenUncached(name string) (File, error)
	}); ok {
		return u.OpenUncached(name)
	}
	return fsys.Open(name)
}

// blocks makes reads of any place out of reads of whole blocks.
type blocks struct {
	read func(p []byte, off int64) (int, error) // at aligned offsets; short only at the file's end
	buf  []byte                                 // aligned
	at   int64                                  // where in the file
	n    int                                    // how much of buf is the file's
}

func (b *blocks) readAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at < b.at || at >= b.at+int64(b.n) {
			begin := at &^ (Alignment - 1)
			n, err := b.read(b.buf, begin)
			b.at, b.n = begin, n
			if err != nil {
				b.n = 0
				return done, err
			}
			if at >= begin+int64(n) {
				return done, io.EOF
			}
		}
		done += copy(p[done:], b.buf[at-b.at:b.n])
	}
	return done, nil
}

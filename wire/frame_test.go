package wire

import "testing"

// A frame has the bytes that were asked for, in a class that wastes at most about half, and small ones are not handed out
// for large.
func TestFrameClasses(t *testing.T) {
	for _, n := range []int{0, 1, 576, 577, 1 << 10, 1152, 1153, 1 << 20, 1<<20 + 4096, 18 << 20, 18<<20 + 1, 100 << 20} {
		f := GetFrame(n)
		if len(f.B) != n {
			t.Errorf("asked for %d bytes, got %d", n, len(f.B))
		}
		if f.class >= 0 && n > 600 && cap(f.B) > 2*n {
			t.Errorf("%d bytes in a buffer of %d", n, cap(f.B))
		}
		if (f.class < 0) != (n > 18<<20) {
			t.Errorf("%d bytes are of class %d", n, f.class)
		}
		f.Release()
	}
	if n := FramesInUse(); n != 0 {
		t.Errorf("%d frames in use", n)
	}
}

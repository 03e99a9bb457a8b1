package wire

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Frame is a pooled buffer that holds a frame's bytes. Whoever got it releases it once, when nothing aliases it any more.
type Frame struct {
	B       []byte  // as long as was asked for
	Arrival Arrival // of B, as far as whoever filled it has told
	class   int8    // -1: too large to be kept
}

// Classes are powers of two and an eighth, since what travels is often a power of two of records and a little header.
const (
	minClassBits = 9  // 576 bytes
	maxClassBits = 24 // 18 MiB
)

func classSize(class int) int { return (9 << (class + minClassBits)) / 8 }

var (
	framePools  [maxClassBits - minClassBits + 1]sync.Pool
	framesInUse atomic.Int64
)

// FramesInUse is the number of frames that were got and not yet released.
func FramesInUse() int64 { return framesInUse.Load() }

// GetFrame returns a frame of n bytes, of undefined content.
func GetFrame(n int) *Frame {
	framesInUse.Add(1)
	class := frameClass(n)
	if class < 0 {
		return &Frame{B: make([]byte, n), class: -1}
	}
	if f, _ := framePools[class].Get().(*Frame); f != nil {
		f.B = f.B[:n]
		return f
	}
	return &Frame{B: make([]byte, n, classSize(class)), class: int8(class)}
}

// frameClass is the smallest class that holds n bytes, -1 beyond the largest.
func frameClass(n int) int {
	class := max(bits.Len(uint(max(n, 1)-1))-minClassBits, 0)
	if class > 0 && n <= classSize(class-1) {
		class--
	}
	if class >= len(framePools) {
		return -1
	}
	return class
}

// Release gives the frame back.
func (f *Frame) Release() {
	if framesInUse.Add(-1) < 0 {
		panic("wire: a frame was released twice")
	}
	if f.class < 0 {
		f.B = nil
		return
	}
	f.Arrival.End()
	f.B = f.B[:cap(f.B)]
	if poisonFrames {
		for i := range f.B {
			f.B[i] = 0xdb
		}
	}
	framePools[f.class].Put(f)
}

// Leave lets the garbage collector have the frame instead of Release: something may alias it for as long as it likes.
func (f *Frame) Leave() {
	if framesInUse.Add(-1) < 0 {
		panic("wire: a frame was released twice")
	}
}

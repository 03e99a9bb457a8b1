package inbox

import (
	"slices"
	"sync"
	"testing"
)

// A note would be lost, come twice, or overtake another of the same goroutine's; or the reader would sleep while one is there.
func TestEveryNoteArrivesOnce(t *testing.T) {
	const writers, each = 8, 1000
	b := New[[2]int]()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if !b.Add([2]int{w, i}) {
					t.Error("an open box took a note for nothing")
				}
			}
		})
	}
	next := [writers]int{}
	for n := 0; n < writers*each; {
		<-b.Wake()
		for _, note := range b.Take() {
			if note[1] != next[note[0]] {
				t.Fatalf("writer %d: note %d came where %d was due", note[0], note[1], next[note[0]])
			}
			next[note[0]]++
			n++
		}
	}
	all.Wait()
}

// What came before the end would be lost, or what comes behind it kept for nobody.
func TestClose(t *testing.T) {
	b := New[int]()
	b.Add(1)
	b.Add(2)
	if left := b.Close(); !slices.Equal(left, []int{1, 2}) {
		t.Errorf("left: %v", left)
	}
	if b.Add(3) || len(b.Take()) != 0 {
		t.Error("a closed box took a note")
	}
}

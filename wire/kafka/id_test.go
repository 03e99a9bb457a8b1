package kafka

import "testing"

// A tool would take an id that it is given for a flag.
func TestIDsBeginWithNoDash(t *testing.T) {
	for range 2000 { // one in 64 would
		if id := NewTopicID(); id.String()[0] == '-' || id.IsZero() {
			t.Fatal(id)
		}
	}
}

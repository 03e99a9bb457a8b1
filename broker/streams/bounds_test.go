package streams

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// One request would have tens of thousands of topics made, or a state kept that is too large to be stored.
func TestBoundsOfARequest(t *testing.T) {
	r := newRig(t, "lines", 3)
	many := words()
	for i := range r.limits.MaxInternal + 1 {
		many.Subtopologies[0].Changelogs = append(many.Subtopologies[0].Changelogs, InternalTopic{Name: fmt.Sprint("app-c-", i)})
	}
	if reply := r.say(joining("m1", "p1", many)); !errors.Is(reply.Err, ErrInvalidTopology) || r.g.Exists() || len(r.parts) > 0 {
		t.Errorf("a topology with %d internal topics: %v", r.limits.MaxInternal+1, reply.Err)
	}
	if reply := r.say(joining(strings.Repeat("m", maxMemberID+1), "p1", words())); !errors.Is(reply.Err, ErrInvalidRequest) || r.g.Exists() || len(r.parts) > 0 {
		t.Errorf("a member id of %d bytes: %v", maxMemberID+1, reply.Err)
	}
	if reply := r.say(joining(strings.Repeat("m", maxMemberID), "p1", words())); reply.Err != nil {
		t.Errorf("a member id of %d bytes: %v", maxMemberID, reply.Err)
	}
}

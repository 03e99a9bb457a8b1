package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// A release that keeps one replica would take a topic of two, whose second is never written.
func TestReplicasBeyondTheRelease(t *testing.T) {
	h := &Handler{Deps: Deps{MaxReplicas: 1}}
	if err := h.replicated(1); err != nil {
		t.Error(err)
	}
	if err := h.replicated(2); code(err) != kerr.InvalidReplicationFactor.Code {
		t.Error(err)
	}
	h.MaxReplicas = 0
	if err := h.replicated(3); err != nil {
		t.Error(err)
	}
}

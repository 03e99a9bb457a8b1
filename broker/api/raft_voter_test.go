package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AddRaftVoter and RemoveRaftVoter could change another cluster's quorum or another directory's membership, or take the last
// voter away.
func TestRaftVoters(t *testing.T) {
	s := newHarness(t)
	other := "other"
	for _, c := range []struct {
		add     bool
		cluster *string
		node    int32
		dir     byte
		want    *kerr.Error
	}{
		{add: true, node: 2},
		{add: true, node: 2, dir: 2},
		{add: true, node: 2, dir: 3, want: kerr.VoterNotFound},
		{add: true, node: 1, want: kerr.DuplicateVoter},
		{add: true, node: 9, want: kerr.VoterNotFound},
		{add: true, node: 2, cluster: &other, want: kerr.InconsistentClusterID},
		{node: 2, want: kerr.VoterNotFound},
		{node: 1, want: kerr.InvalidRequest},
		{node: 1, cluster: &other, want: kerr.InconsistentClusterID},
	} {
		var got int16
		if c.add {
			req := kmsg.NewPtrAddRaftVoterRequest()
			req.ClusterID, req.VoterID, req.VoterDirectoryID = c.cluster, c.node, [16]byte{c.dir}
			got = ask[*kmsg.AddRaftVoterResponse](s, req, 1).ErrorCode
		} else {
			req := kmsg.NewPtrRemoveRaftVoterRequest()
			req.ClusterID, req.VoterID = c.cluster, c.node
			got = ask[*kmsg.RemoveRaftVoterResponse](s, req, 0).ErrorCode
		}
		want := int16(0)
		if c.want != nil {
			want = c.want.Code
		}
		if got != want {
			t.Errorf("%+v: code %d, want %d", c, got, want)
		}
	}
}

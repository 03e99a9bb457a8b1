package server

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A request that was refused as a whole would not be kept among those that failed, or what is no failure would be.
func TestFailure(t *testing.T) {
	heartbeat, versions := kmsg.NewPtrHeartbeatResponse(), kmsg.NewPtrApiVersionsResponse()
	shares, produced := kmsg.NewPtrShareGroupHeartbeatResponse(), kmsg.NewPtrProduceResponse()
	shares.ErrorCode = kerr.UnknownMemberID.Code
	versions.ErrorCode = kerr.UnsupportedVersion.Code
	for _, c := range []struct {
		of   kmsg.Response
		code int16
		want int16
	}{
		{heartbeat, 0, 0},
		{heartbeat, kerr.NotCoordinator.Code, kerr.NotCoordinator.Code},
		{heartbeat, kerr.RebalanceInProgress.Code, 0},
		{shares, 0, kerr.UnknownMemberID.Code},
		{versions, 0, 0},
		{produced, 0, 0},
		{nil, 0, 0},
	} {
		heartbeat.ErrorCode = c.code
		if got := failure(c.of); got != c.want {
			t.Errorf("%T with %d counts as %d, not %d", c.of, c.code, got, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { failure(heartbeat) }); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}

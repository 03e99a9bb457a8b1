package server

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// failure is the error code that an answer as a whole bears; what it says of its parts, those who make it tell the trace.
// REBALANCE_IN_PROGRESS is how members are told to join again, and UNSUPPORTED_VERSION of ApiVersions how versions are agreed
// on: no failures.
func failure(m kmsg.Response) int16 {
	var code int16
	switch r := m.(type) {
	case *kmsg.FindCoordinatorResponse:
		code = r.ErrorCode
	case *kmsg.JoinGroupResponse:
		code = r.ErrorCode
	case *kmsg.SyncGroupResponse:
		code = r.ErrorCode
	case *kmsg.HeartbeatResponse:
		code = r.ErrorCode
	case *kmsg.LeaveGroupResponse:
		code = r.ErrorCode
	case *kmsg.ConsumerGroupHeartbeatResponse:
		code = r.ErrorCode
	case *kmsg.InitProducerIDResponse:
		code = r.ErrorCode
	case *kmsg.AddOffsetsToTxnResponse:
		code = r.ErrorCode
	case *kmsg.EndTxnResponse:
		code = r.ErrorCode
	case *kmsg.OffsetFetchResponse:
		code = r.ErrorCode
	case *kmsg.DescribeClusterResponse:
		code = r.ErrorCode
	}
	if code == kerr.RebalanceInProgress.Code {
		return 0
	}
	return code
}

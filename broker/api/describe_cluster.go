package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// DescribeCluster (key 60, v0-2; KIP-700): cluster id, controller, brokers. v1 may ask for controllers instead (KIP-919):
// those have no endpoint of their own here → MISMATCHED_ENDPOINT_TYPE. v2 may ask for fenced brokers too (KIP-1073), which are
// left out otherwise.

func (h *Handler) describeCluster(x *wire.Exchange) {
	const brokers, controllers = 1, 2
	req := x.Request.(*kmsg.DescribeClusterRequest)
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.EndpointType = brokers
	resp.ClusterAuthorizedOperations = operations(req.IncludeClusterAuthorizedOperations, clusterOperations)
	if x.Version >= 1 && req.EndpointType != brokers {
		err := refuse(kerr.UnsupportedEndpointType, "endpoint type %d is unknown", req.EndpointType)
		if req.EndpointType == controllers {
			err = refuse(kerr.MismatchedEndpointType, "this is a broker's endpoint")
		}
		resp.ErrorCode, resp.ErrorMessage, resp.EndpointType = code(err), message(err), req.EndpointType
		reply(x, resp)
		return
	}
	m := h.quorum.Image()
	resp.ClusterID = m.ClusterID()
	resp.ControllerID = int32(h.controller())
	m.Brokers(func(b *image.Broker) bool {
		fenced := b.State == command.Fenced
		if host, port, ok := endpoint(b, listener(x)); ok && (!fenced || req.IncludeFencedBrokers && x.Version >= 2) {
			rb := kmsg.NewDescribeClusterResponseBroker()
			rb.NodeID, rb.Host, rb.Port, rb.Rack = int32(b.ID), host, port, rack(b)
			rb.IsFenced = fenced
			resp.Brokers = append(resp.Brokers, rb)
		}
		return true
	})
	reply(x, resp)
}

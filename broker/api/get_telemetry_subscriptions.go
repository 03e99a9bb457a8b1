package api

import (
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/clientmetrics"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
)

// GetTelemetrySubscriptions (key 71, v0; KIP-714): which metrics a client is to send, and how often. Advertised while there is a subscription.
//
//   - The first time the client has no instance id, and is given one.
//   - Again before its interval has passed → THROTTLING_QUOTA_EXCEEDED, unless it was refused for what this mends.

func (h *Handler) getTelemetrySubscriptions(x *wire.Exchange) {
	req := x.Request.(*kmsg.GetTelemetrySubscriptionsRequest)
	resp := kmsg.NewPtrGetTelemetrySubscriptionsResponse()
	w, err := h.askTelemetry(x, req)
	if err != nil {
		resp.ErrorCode = code(asTelemetry(err))
		reply(x, resp)
		return
	}
	resp.ClientInstanceID, resp.SubscriptionID = w.Instance, w.Subscription
	resp.AcceptedCompressionTypes = []int8{int8(batch.Zstd), int8(batch.LZ4), int8(batch.Gzip), int8(batch.Snappy)}
	resp.PushIntervalMillis, resp.TelemetryMaxBytes = int32(w.Interval.Milliseconds()), int32(h.ClientMetrics.MaxBytes())
	resp.DeltaTemporality, resp.RequestedMetrics = true, w.Metrics
	reply(x, resp)
}

func (h *Handler) askTelemetry(x *wire.Exchange, req *kmsg.GetTelemetrySubscriptionsRequest) (clientmetrics.Wanted, error) {
	if h.ClientMetrics == nil {
		return clientmetrics.Wanted{}, errNoTelemetry
	}
	return h.ClientMetrics.Ask(telemetryClient(x, req.ClientInstanceID))
}

var errNoTelemetry = refuse(kerr.UnsupportedVersion, "client metrics are not taken by this broker: it pushes none itself")

// telemetryClient is who asks or sends.
func telemetryClient(x *wire.Exchange, instance [16]byte) clientmetrics.Client {
	c := clientmetrics.Client{Instance: instance, ID: x.ClientID}
	if x.Client == nil {
		return c
	}
	c.Software, c.SoftwareVersion, c.Principal = x.Client.Software, x.Client.SoftwareVersion, x.Client.Principal
	if a, ok := x.Client.Addr.(*net.TCPAddr); ok {
		c.Address, c.Port = a.IP.String(), a.Port
	}
	return c
}

package api

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/clientmetrics"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
)

// PushTelemetry (key 72, v0): they are, as OTLP.
//
//   - An id that no client has, or metrics after the last ones → INVALID_REQUEST; before the interval has passed → THROTTLING_QUOTA_EXCEEDED; another
//     subscription than the current one → UNKNOWN_SUBSCRIPTION_ID; UNSUPPORTED_COMPRESSION_TYPE; TELEMETRY_TOO_LARGE; no OTLP → INVALID_RECORD.

func (h *Handler) pushTelemetry(x *wire.Exchange) {
	req := x.Request.(*kmsg.PushTelemetryRequest)
	resp := kmsg.NewPtrPushTelemetryResponse()
	err := error(errNoTelemetry)
	if h.ClientMetrics != nil {
		err = h.ClientMetrics.Push(telemetryClient(x, req.ClientInstanceID), req.SubscriptionID, req.Terminating, batch.Codec(req.CompressionType), req.Metrics)
	}
	resp.ErrorCode = code(asTelemetry(err))
	reply(x, resp)
}

// asTelemetry gives a refusal its code.
func asTelemetry(err error) error {
	for _, c := range []struct {
		is   error
		code *kerr.Error
	}{
		{clientmetrics.ErrInstance, kerr.InvalidRequest}, {clientmetrics.ErrTerminated, kerr.InvalidRequest},
		{clientmetrics.ErrEarly, kerr.ThrottlingQuotaExceeded}, {clientmetrics.ErrSubscription, kerr.UnknownSubscriptionID},
		{clientmetrics.ErrCompression, kerr.UnsupportedCompressionType}, {clientmetrics.ErrTooLarge, kerr.TelemetryTooLarge},
		{clientmetrics.ErrMalformed, kerr.InvalidRecord},
	} {
		if errors.Is(err, c.is) {
			return refuse(c.code, "%v", err)
		}
	}
	return err
}

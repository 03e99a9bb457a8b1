package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
)

// ApiVersions (key 18, v0-4): what is served, and nothing else.
//
//   - v3 carries the client's software name and version (KIP-511); a name or version of a form that could not be a metrics
//     label is refused with INVALID_REQUEST.
//   - A version newer than ours is answered as v0 with UNSUPPORTED_VERSION and the range of this key only, from which the
//     client picks again.
//   - What clients ask about their own metrics (KIP-714) is left out unless there is a subscription: librdkafka 2.5.0 cannot take it.
//   - What needs a metadata level that the cluster does not work at yet is left out.
//   - Features (KIP-584): metadata.version, whose level tells tools which generation of Kafka's metadata to expect, and group.version, which
//     says that there are consumer groups (KIP-848), share.version that there are share groups (KIP-932). transaction.version and streams.version
//     switch clients to newer protocols and are absent until those are served. Up to v3 a feature may not have the minimum 0 (KIP-1011); ours does not.
//   - qanat.metadata is the level of our own metadata (command.Level), which decides whether brokers of different releases can work
//     together. It rises by itself, so UpdateFeatures is not served. At level 0 it is not finalized.

// metadataVersion is the level of Kafka's metadata.version whose requests the wire table follows: 29 is 4.2-IV1.
const metadataVersion = 29

// levelFeature names the level of our metadata.
const levelFeature = "qanat.metadata"

// needs are the APIs whose requests write commands that not every level knows.
var needs = map[int16]command.Kind{
	68: command.KindChangeGroup, 69: command.KindChangeGroup,
	76: command.KindChangeShare, 77: command.KindChangeShare, 78: command.KindChangeShare, 79: command.KindChangeShare,
	90: command.KindChangeShare, 91: command.KindChangeShare, 92: command.KindChangeShare,
}

// maxAPIVersions is the newest version of ApiVersions answered in its own format.
const maxAPIVersions = 4

// transactionVersion is KIP-890's: a producer's epoch grows with every transaction.
const transactionVersion = 2

func (h *Handler) apiVersions(x *wire.Exchange) {
	resp := kmsg.NewPtrApiVersionsResponse()
	req, ok := x.Request.(*kmsg.ApiVersionsRequest)
	if !ok || x.Version < 0 || x.Version > maxAPIVersions {
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		for _, a := range wire.Table() {
			if a.Key == x.Key {
				resp.ApiKeys = append(resp.ApiKeys, advertised(a))
			}
		}
		x.Reply(wire.Reply{Message: resp}) // version 0, whatever was asked
		return
	}
	if x.Version >= 3 {
		if !softwareName(req.ClientSoftwareName) || !softwareName(req.ClientSoftwareVersion) {
			resp.ErrorCode = kerr.InvalidRequest.Code
			reply(x, resp)
			return
		}
		if x.Client != nil {
			x.Client.Software, x.Client.SoftwareVersion = req.ClientSoftwareName, req.ClientSoftwareVersion
		}
	}
	table := wire.Table()
	resp.ApiKeys = make([]kmsg.ApiVersionsResponseApiKey, 0, len(table))
	atLevel := h.quorum.Image().Level()
	for _, a := range table {
		if atLevel.Knows(needs[a.Key]) == nil && (!telemetryKey(a.Key) || h.ClientMetrics.Subscribed()) {
			resp.ApiKeys = append(resp.ApiKeys, advertised(a))
		}
	}
	level := int16(atLevel)
	resp.SupportedFeatures = []kmsg.ApiVersionsResponseSupportedFeature{
		{Name: "metadata.version", MinVersion: metadataVersion, MaxVersion: metadataVersion},
		{Name: "group.version", MinVersion: 1, MaxVersion: 1},
		{Name: levelFeature, MinVersion: 1, MaxVersion: int16(command.NewestLevel)},
	}
	resp.FinalizedFeatures = []kmsg.ApiVersionsResponseFinalizedFeature{
		{Name: "metadata.version", MinVersionLevel: metadataVersion, MaxVersionLevel: metadataVersion},
	}
	if atLevel.Knows(command.KindChangeGroup) == nil {
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{Name: "group.version", MinVersionLevel: 1, MaxVersionLevel: 1})
	}
	if h.transacts() == nil {
		resp.SupportedFeatures = append(resp.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{Name: "transaction.version", MaxVersion: transactionVersion})
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{
			Name: "transaction.version", MinVersionLevel: transactionVersion, MaxVersionLevel: transactionVersion,
		})
	}
	if h.shares() == nil {
		resp.SupportedFeatures = append(resp.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{Name: "share.version", MinVersion: 1, MaxVersion: 1})
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{Name: "share.version", MinVersionLevel: 1, MaxVersionLevel: 1})
	}
	if level > 0 {
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{
			Name: levelFeature, MinVersionLevel: level, MaxVersionLevel: level,
		})
	}
	resp.FinalizedFeaturesEpoch = int64(level) // nothing else of it changes while running
	reply(x, resp)
}

// telemetryKey tells whether the key is one of KIP-714's.
func telemetryKey(key int16) bool { return key == 71 || key == 72 }

func advertised(a wire.API) kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = a.Key, a.Min, a.Max
	return k
}

// softwareName is KIP-511's [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?.
func softwareName(s string) bool {
	alnum := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	if s == "" || !alnum(s[0]) || !alnum(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alnum(c) && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

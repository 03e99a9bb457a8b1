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
//   - Features (KIP-584): metadata.version, whose level tells tools which generation of Kafka's metadata to expect; group.version (consumer groups,
//     KIP-848), transaction.version (KIP-890), share.version (KIP-932) and streams.version (KIP-1071), which switch clients to
//     newer protocols once every broker serves those; kraft.version 1 (voters join and leave, KIP-853) and
//     eligible.leader.replicas.version 1 (KIP-966), which every cluster of ours works at.
//   - qanat.metadata is the level of our own metadata (command.Level), which decides whether brokers of different releases can work
//     together. It rises by itself; see UpdateFeatures. At level 0 it is not finalized.

// metadataVersion is the level of Kafka's metadata.version whose requests the wire table follows: 30 is 4.3-IV0.
const metadataVersion = 30

// levelFeature names the level of our metadata.
const levelFeature = "qanat.metadata"

// needs are the APIs whose requests write what not every level knows.
var needs = func() map[int16]command.Level {
	groups, shares := command.KindChangeGroup.Since(), command.KindChangeShare.Since()
	return map[int16]command.Level{
		68: groups, 69: groups,
		76: shares, 77: shares, 78: shares, 79: shares, 90: shares, 91: shares, 92: shares,
		88: command.StreamsLevel, 89: command.StreamsLevel,
	}
}()

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
		if atLevel >= needs[a.Key] && (!telemetryKey(a.Key) || h.ClientMetrics.Subscribed()) {
			resp.ApiKeys = append(resp.ApiKeys, advertised(a))
		}
	}
	for _, f := range h.features() {
		resp.SupportedFeatures = append(resp.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{Name: f.name, MinVersion: f.min, MaxVersion: f.max})
		if f.at > 0 {
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{Name: f.name, MinVersionLevel: f.at, MaxVersionLevel: f.at})
		}
	}
	resp.FinalizedFeaturesEpoch = int64(atLevel) // nothing else of it changes while running
	reply(x, resp)
}

// feature is what of a feature this release supports, and the level that the cluster works at; 0: not yet.
type feature struct {
	name         string
	min, max, at int16
}

// features are all there are. None has the minimum 0, which clients may not be told up to v3 (KIP-1011).
func (h *Handler) features() []feature {
	level := h.quorum.Image().Level()
	at := func(v int16, err error) int16 {
		if err != nil {
			return 0
		}
		return v
	}
	return []feature{
		{"metadata.version", metadataVersion, metadataVersion, metadataVersion},
		{"kraft.version", 1, 1, 1},
		{"eligible.leader.replicas.version", 1, 1, 1},
		{"group.version", 1, 1, at(1, level.Knows(command.KindChangeGroup))},
		{"transaction.version", transactionVersion, transactionVersion, at(transactionVersion, h.transacts())},
		{"share.version", 1, 1, at(1, h.shares())},
		{"streams.version", 1, 1, at(1, level.Streams())},
		{levelFeature, 1, int16(command.NewestLevel), int16(level)},
	}
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

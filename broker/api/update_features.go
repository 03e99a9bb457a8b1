package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

// UpdateFeatures (key 57, v0-2; KIP-584, 1022): features rise by themselves, when every broker supports the next level, and never
// fall. So what a cluster works at already is granted, and anything else INVALID_UPDATE_VERSION: of the whole request, at every
// version, as by Kafka 4, where a request's updates are made together or not at all. v0-1 name each feature of a request that is
// granted. A feature that is named twice → INVALID_REQUEST; an upgrade of a type that
// there is not → INVALID_UPDATE_VERSION.

const noResultsVersion = 2

// The types of upgrade that a client can ask for; between them lies the safe downgrade.
const (
	upgradeOnly     = 1
	unsafeDowngrade = 3
)

func (h *Handler) updateFeatures(x *wire.Exchange) {
	req := x.Request.(*kmsg.UpdateFeaturesRequest)
	resp := kmsg.NewPtrUpdateFeaturesResponse()
	times := map[string]int{}
	known := h.features()
	for i := range req.FeatureUpdates {
		u := &req.FeatureUpdates[i]
		times[u.Feature]++
		if x.Version == 0 {
			u.UpgradeType = upgradeOnly // it has no type; one that may lower is refused for what it asks
		}
		err := updateFeature(known, u)
		if times[u.Feature] > 1 {
			err = refuse(kerr.InvalidRequest, "feature %q is named twice in the request", u.Feature)
		}
		if err != nil {
			resp.ErrorCode, resp.ErrorMessage, resp.Results = code(err), message(err), nil
			break
		}
		if x.Version < noResultsVersion {
			r := kmsg.NewUpdateFeaturesResponseResult()
			r.Feature = u.Feature
			resp.Results = append(resp.Results, r)
		}
	}
	reply(x, resp)
}

func updateFeature(known []feature, u *kmsg.UpdateFeaturesRequestFeatureUpdate) error {
	i := slices.IndexFunc(known, func(f feature) bool { return f.name == u.Feature })
	switch {
	case u.UpgradeType < upgradeOnly || u.UpgradeType > unsafeDowngrade:
		return refuse(kerr.InvalidUpdateVersion, "there is no upgrade of type %d: 1 upgrades, 2 and 3 may lower", u.UpgradeType)
	case i < 0:
		return refuse(kerr.InvalidUpdateVersion, "feature %q is not known to this release", u.Feature)
	case known[i].at == u.MaxVersionLevel:
		return nil
	case u.MaxVersionLevel < known[i].at:
		return refuse(kerr.InvalidUpdateVersion, "%s is at %d: features never fall", u.Feature, known[i].at)
	case u.MaxVersionLevel > known[i].max:
		return refuse(kerr.InvalidUpdateVersion, "%s is at %d, and this release supports up to %d", u.Feature, known[i].at, known[i].max)
	}
	return refuse(kerr.InvalidUpdateVersion, "%s is at %d, and rises by itself when every registered broker runs a release that supports more", u.Feature, known[i].at)
}

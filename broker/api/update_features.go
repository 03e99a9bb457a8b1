package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

// UpdateFeatures (key 57, v0-2; KIP-584, 1022): features rise by themselves, when every broker supports the next level, and never fall. So what a cluster
// works at already is granted, and anything else INVALID_UPDATE_VERSION: v0-1 say so of each feature, v2 of the whole request. A feature that is named
// twice → INVALID_REQUEST.

const oneOutcomeVersion = 2

func (h *Handler) updateFeatures(x *wire.Exchange) {
	req := x.Request.(*kmsg.UpdateFeaturesRequest)
	resp := kmsg.NewPtrUpdateFeaturesResponse()
	times := map[string]int{}
	for i := range req.FeatureUpdates {
		times[req.FeatureUpdates[i].Feature]++
	}
	known := h.features()
	for i := range req.FeatureUpdates {
		u := &req.FeatureUpdates[i]
		err := updateFeature(known, u)
		if times[u.Feature] > 1 {
			err = refuse(kerr.InvalidRequest, "feature %q is named twice in the request", u.Feature)
		}
		if x.Version >= oneOutcomeVersion {
			if err != nil {
				resp.ErrorCode, resp.ErrorMessage = code(err), message(err)
				break
			}
			continue
		}
		r := kmsg.NewUpdateFeaturesResponseResult()
		r.Feature, r.ErrorCode, r.ErrorMessage = u.Feature, code(err), message(err)
		resp.Results = append(resp.Results, r)
	}
	reply(x, resp)
}

func updateFeature(known []feature, u *kmsg.UpdateFeaturesRequestFeatureUpdate) error {
	i := slices.IndexFunc(known, func(f feature) bool { return f.name == u.Feature })
	switch {
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

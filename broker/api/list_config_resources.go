package api

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// ListConfigResources (key 74, v0-1; KIP-1142): what there is to be described: topics, brokers, client metrics subscriptions (KIP-714), and groups
// that have configurations of their own. No type means all; v0 asks for subscriptions. A type that has no configurations here →
// UNSUPPORTED_VERSION.

const listedTypesVersion = 1

func (h *Handler) listConfigResources(x *wire.Exchange) {
	req := x.Request.(*kmsg.ListConfigResourcesRequest)
	resp := kmsg.NewPtrListConfigResourcesResponse()
	types := []command.ResourceType{resourceClient}
	if x.Version >= listedTypesVersion {
		types = types[:0]
		for _, t := range req.ResourceTypes {
			if k := command.ResourceType(t); !slices.Contains(types, k) {
				types = append(types, k)
			}
		}
		if len(types) == 0 {
			types = []command.ResourceType{resourceTopic, resourceBroker, resourceClient, resourceGroup}
		}
	}
	m := h.quorum.Image()
	resp.ConfigResources = []kmsg.ListConfigResourcesResponseConfigResource{}
	for _, t := range types {
		names, ok := resourceNames(m, t)
		if !ok {
			resp.ErrorCode, resp.ConfigResources = kerr.UnsupportedVersion.Code, nil
			break
		}
		for _, n := range names {
			r := kmsg.NewListConfigResourcesResponseConfigResource()
			r.Name, r.Type = n, int8(t)
			resp.ConfigResources = append(resp.ConfigResources, r)
		}
	}
	reply(x, resp)
}

// resourceNames lists the resources of a type; false when the type is none.
func resourceNames(m *image.Image, t command.ResourceType) (names []string, ok bool) {
	switch t {
	case resourceTopic:
		m.Topics(func(t *image.Topic) bool { names = append(names, t.Name); return true })
	case resourceBroker:
		m.Brokers(func(b *image.Broker) bool { names = append(names, strconv.Itoa(int(b.ID))); return true })
	case resourceGroup, resourceClient:
		names = m.ConfigNames(t)
	default:
		return nil, false
	}
	return names, true
}

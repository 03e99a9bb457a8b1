package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// DeleteTopics (key 20, v1-6): by name, from v6 by name or topic id (KIP-516). The reply carries both where they are known.
// delete.topic.enable=false → TOPIC_DELETION_DISABLED (v3+; before, INVALID_REQUEST). A topic named twice, or by name and id
// in one entry, → INVALID_REQUEST. v5+ refuses what goes beyond controller_mutation_rate (KIP-599).

const deleteTopicsQuotaVersion = 5

func (h *Handler) deleteTopics(x *wire.Exchange) {
	req := x.Request.(*kmsg.DeleteTopicsRequest)
	wanted := req.Topics
	if x.Version < 6 {
		wanted = make([]kmsg.DeleteTopicsRequestTopic, len(req.TopicNames))
		for i := range wanted {
			wanted[i].Topic = &req.TopicNames[i]
		}
	}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	resp.Topics = make([]kmsg.DeleteTopicsResponseTopic, len(wanted))
	m := h.quorum.Image()
	p := proposals{errs: make([]error, len(wanted))}
	found := make([]*image.Topic, len(wanted))
	times := map[kafka.TopicID]int{}
	for i := range wanted {
		if found[i], p.errs[i] = h.deletable(m, x.Version, &wanted[i], len(wanted)); p.errs[i] == nil {
			times[found[i].ID]++
		}
	}
	quota := h.mutations(x, deleteTopicsQuotaVersion)
	for i, t := range found {
		if p.errs[i] == nil && times[t.ID] > 1 {
			p.errs[i] = refuse(kerr.InvalidRequest, "topic %q is named twice in the request", t.Name)
		}
		if p.errs[i] == nil {
			p.errs[i] = quota.admit(int(t.Partitions))
		}
		if p.errs[i] == nil {
			p.add(i, command.DeleteTopic{ID: t.ID})
		}
	}
	if len(p.commands) > 0 {
		ctx, cancel := within(x, req.TimeoutMillis)
		defer cancel()
		h.carryOut(ctx, &p)
	}
	for i := range wanted {
		rt := &resp.Topics[i]
		*rt = kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID = wanted[i].Topic, wanted[i].TopicID
		rt.ErrorCode, rt.ErrorMessage = code(p.errs[i]), message(p.errs[i])
		if found[i] != nil {
			rt.Topic, rt.TopicID = &found[i].Name, found[i].ID
		}
	}
	reply(x, resp)
}

// deletable finds the topic of one entry, if it may be deleted.
func (h *Handler) deletable(m *image.Image, version int16, t *kmsg.DeleteTopicsRequestTopic, total int) (*image.Topic, error) {
	byID := t.TopicID != [16]byte{}
	switch {
	case total > maxTopicsPerRequest:
		return nil, refuse(kerr.InvalidRequest, "more than %d topics in one request", maxTopicsPerRequest)
	case !h.settings.deleteTopics && version < 3:
		return nil, refuse(kerr.InvalidRequest, "topic deletion is disabled")
	case !h.settings.deleteTopics:
		return nil, refuse(kerr.TopicDeletionDisabled, "topic deletion is disabled by delete.topic.enable")
	case byID && t.Topic != nil:
		return nil, refuse(kerr.InvalidRequest, "a topic is named either by name or by id")
	case byID:
		return topicWithID(m, t.TopicID)
	case t.Topic == nil:
		return nil, refuse(kerr.InvalidRequest, "neither name nor id was given")
	}
	return topicNamed(m, *t.Topic)
}

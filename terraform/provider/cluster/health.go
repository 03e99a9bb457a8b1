package cluster

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Overview is a cluster as a whole.
type Overview struct {
	ID         string
	Controller int32
	Brokers    []Broker // that are active
	Fenced     []Broker // that are registered, and not there
	Level      int16    // of its metadata
	Topics     int
	Problems   []string // what is wrong, in words; none when all is well
}

// Overview looks at the whole of the cluster, as far as the Kafka protocol shows it.
func (c *Cluster) Overview(ctx context.Context) (*Overview, error) {
	l, err := c.view.list(ctx)
	if err != nil {
		return nil, err
	}
	o := &Overview{ID: l.id, Controller: l.controller, Brokers: l.brokers, Topics: len(l.names)}
	describe := kmsg.NewPtrDescribeClusterRequest()
	describe.IncludeFencedBrokers = true
	all, err := request[*kmsg.DescribeClusterResponse](ctx, c, describe)
	if err == nil {
		err = coded("describe the cluster", all.ErrorCode, all.ErrorMessage)
	}
	if err != nil {
		return nil, failed("describe the cluster", err, nil)
	}
	for _, b := range all.Brokers {
		if b.IsFenced {
			o.Fenced = append(o.Fenced, Broker{ID: b.NodeID, Host: b.Host, Port: b.Port, Rack: orEmpty(b.Rack)})
		}
	}
	versions, err := request[*kmsg.ApiVersionsResponse](ctx, c, kmsg.NewPtrApiVersionsRequest())
	if err != nil {
		return nil, failed("ask for the cluster's versions", err, nil)
	}
	for _, f := range versions.FinalizedFeatures {
		if f.Name == "metadata.version" {
			o.Level = f.MaxVersionLevel
		}
	}
	o.Problems = l.problems()
	for _, b := range o.Fenced {
		o.Problems = append(o.Problems, fmt.Sprintf("broker %d is not there", b.ID))
	}
	if o.Controller < 0 {
		o.Problems = append(o.Problems, "the metadata quorum has no leader")
	}
	return o, nil
}

// problems are the topics' that some partitions of have.
func (l *listing) problems() (out []string) {
	var leaderless, behind int
	for _, t := range l.topics {
		for _, p := range t.Partitions {
			switch {
			case p.Leader < 0:
				leaderless++
			case slices.ContainsFunc(p.Replicas, func(b int32) bool { return !slices.Contains(p.InSync, b) }):
				behind++
			}
		}
	}
	if leaderless > 0 {
		out = append(out, fmt.Sprintf("%d partitions have no leader", leaderless))
	}
	if behind > 0 {
		out = append(out, fmt.Sprintf("%d partitions have replicas that are not in sync", behind))
	}
	return out
}

package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Who asks what it may do is told: everything, without an authorizer; who does not ask, or asks about what is not there, is
// told nothing, and asking leaves no trace in the answers to others.
func TestAuthorizedOperations(t *testing.T) { groupsTest(t, testAuthorizedOperations) }

func testAuthorizedOperations(t *testing.T, s *harness) {
	s.topic("t", 1)
	for _, asked := range []bool{true, false} {
		want := func(all int32) int32 {
			if asked {
				return all
			}
			return unauthorized
		}
		md := kmsg.NewPtrMetadataRequest()
		md.IncludeTopicAuthorizedOperations, md.IncludeClusterAuthorizedOperations = asked, asked
		for _, name := range []string{"t", "none"} {
			rt := kmsg.NewMetadataRequestTopic()
			rt.Topic = &name
			md.Topics = append(md.Topics, rt)
		}
		r := ask[*kmsg.MetadataResponse](s, md, 10)
		if r.AuthorizedOperations != want(0b1_1111_1010_0000) || r.Topics[0].AuthorizedOperations != want(0b1101_1111_1000) || r.Topics[1].AuthorizedOperations != unauthorized {
			t.Errorf("asked %t: metadata tells cluster %b, topics %b and %b", asked, r.AuthorizedOperations, r.Topics[0].AuthorizedOperations, r.Topics[1].AuthorizedOperations)
		}
		md.Topics = nil
		if got := ask[*kmsg.MetadataResponse](s, md, 10).Topics[0].AuthorizedOperations; got != want(0b1101_1111_1000) {
			t.Errorf("asked %t: metadata of all topics tells %b", asked, got)
		}
		dc := kmsg.NewPtrDescribeClusterRequest()
		dc.IncludeClusterAuthorizedOperations = asked
		if got := ask[*kmsg.DescribeClusterResponse](s, dc, 1).ClusterAuthorizedOperations; got != want(0b1_1111_1010_0000) {
			t.Errorf("asked %t: the cluster's are %b", asked, got)
		}
		dg := kmsg.NewPtrDescribeGroupsRequest()
		dg.Groups, dg.IncludeAuthorizedOperations = []string{"none"}, asked
		if got := ask[*kmsg.DescribeGroupsResponse](s, dg, 5).Groups[0].AuthorizedOperations; got != want(0b1101_0100_1000) {
			t.Errorf("asked %t: a group's are %b", asked, got)
		}
	}
	if got := ask[*kmsg.DescribeTopicPartitionsResponse](s, kmsg.NewPtrDescribeTopicPartitionsRequest(), 0).Topics[0].AuthorizedOperations; got != 0b1101_1111_1000 {
		t.Errorf("DescribeTopicPartitions tells %b", got)
	}
}

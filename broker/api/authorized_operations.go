package api

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Authorized operations (KIP-430): bit n of the field stands for the ACL operation with number n. While there is no
// authorizer everybody may do everything, which is what Kafka answers then too; where they were not asked for, the field
// says so.

// unauthorized is what an authorized-operations field says when they were not asked for.
const unauthorized = math.MinInt32

// What can be done to each kind of resource at all.
const (
	topicOperations = 1<<kmsg.ACLOperationRead | 1<<kmsg.ACLOperationWrite | 1<<kmsg.ACLOperationCreate | 1<<kmsg.ACLOperationDelete |
		1<<kmsg.ACLOperationAlter | 1<<kmsg.ACLOperationDescribe | 1<<kmsg.ACLOperationDescribeConfigs | 1<<kmsg.ACLOperationAlterConfigs
	groupOperations = 1<<kmsg.ACLOperationRead | 1<<kmsg.ACLOperationDelete | 1<<kmsg.ACLOperationDescribe |
		1<<kmsg.ACLOperationDescribeConfigs | 1<<kmsg.ACLOperationAlterConfigs
	clusterOperations = 1<<kmsg.ACLOperationCreate | 1<<kmsg.ACLOperationAlter | 1<<kmsg.ACLOperationDescribe | 1<<kmsg.ACLOperationClusterAction |
		1<<kmsg.ACLOperationDescribeConfigs | 1<<kmsg.ACLOperationAlterConfigs | 1<<kmsg.ACLOperationIdempotentWrite
)

func operations(asked bool, all int32) int32 {
	if asked {
		return all
	}
	return unauthorized
}

// authorizeTopics fills in the operations of topics that exist. The caller owns the slice.
func authorizeTopics(topics []kmsg.MetadataResponseTopic) {
	for i := range topics {
		if topics[i].ErrorCode == 0 {
			topics[i].AuthorizedOperations = topicOperations
		}
	}
}

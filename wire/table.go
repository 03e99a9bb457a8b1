package wire

// API is one served API and its range of versions, as ApiVersions advertises it.
type API struct {
	Key      int16
	Name     string
	Min, Max int16
}

// table is written by hand: an API or a version is served when somebody has decided so, not when a library knows it.
// In key order. The ranges are those of Kafka 4.2, but for:
//
//   - Produce, advertised from v0 although v0-2 carry formats that nobody keeps: older librdkafka takes a higher minimum
//     for a broker that cannot compress (KAFKA-18659). broker/api refuses them on use, with a code.
var table = []API{
	{0, "Produce", 0, 13},
	{1, "Fetch", 4, 18},
	{2, "ListOffsets", 1, 11},
	{3, "Metadata", 0, 13},
	{8, "OffsetCommit", 2, 10},
	{9, "OffsetFetch", 1, 10},
	{10, "FindCoordinator", 0, 6},
	{11, "JoinGroup", 0, 9},
	{12, "Heartbeat", 0, 4},
	{13, "LeaveGroup", 0, 5},
	{14, "SyncGroup", 0, 5},
	{15, "DescribeGroups", 0, 6},
	{16, "ListGroups", 0, 5},
	{18, "ApiVersions", 0, 4},
	{19, "CreateTopics", 2, 7},
	{20, "DeleteTopics", 1, 6},
	{21, "DeleteRecords", 0, 2},
	{22, "InitProducerId", 0, 5},
	{23, "OffsetForLeaderEpoch", 2, 4},
	{24, "AddPartitionsToTxn", 0, 5},
	{25, "AddOffsetsToTxn", 0, 4},
	{26, "EndTxn", 0, 5},
	{27, "WriteTxnMarkers", 1, 2},
	{28, "TxnOffsetCommit", 0, 5},
	{32, "DescribeConfigs", 1, 4},
	{33, "AlterConfigs", 0, 2},
	{34, "AlterReplicaLogDirs", 1, 2},
	{35, "DescribeLogDirs", 1, 4},
	{37, "CreatePartitions", 0, 3},
	{42, "DeleteGroups", 0, 2},
	{43, "ElectLeaders", 0, 2},
	{44, "IncrementalAlterConfigs", 0, 1},
	{45, "AlterPartitionReassignments", 0, 1},
	{46, "ListPartitionReassignments", 0, 0},
	{47, "OffsetDelete", 0, 0},
	{48, "DescribeClientQuotas", 0, 1},
	{49, "AlterClientQuotas", 0, 1},
	{55, "DescribeQuorum", 0, 2},
	{57, "UpdateFeatures", 0, 2},
	{60, "DescribeCluster", 0, 2},
	{61, "DescribeProducers", 0, 0},
	{64, "UnregisterBroker", 0, 0},
	{65, "DescribeTransactions", 0, 0},
	{66, "ListTransactions", 0, 2},
	{68, "ConsumerGroupHeartbeat", 0, 1},
	{69, "ConsumerGroupDescribe", 0, 1},
	{71, "GetTelemetrySubscriptions", 0, 0},
	{72, "PushTelemetry", 0, 0},
	{74, "ListConfigResources", 0, 1},
	{75, "DescribeTopicPartitions", 0, 0},
	{76, "ShareGroupHeartbeat", 1, 1},
	{77, "ShareGroupDescribe", 1, 1},
	{78, "ShareFetch", 1, 2},
	{79, "ShareAcknowledge", 1, 2},
	{80, "AddRaftVoter", 0, 1},
	{81, "RemoveRaftVoter", 0, 0},
	{88, "StreamsGroupHeartbeat", 0, 0},
	{89, "StreamsGroupDescribe", 0, 0},
	{90, "DescribeShareGroupOffsets", 0, 1},
	{91, "AlterShareGroupOffsets", 0, 0},
	{92, "DeleteShareGroupOffsets", 0, 0},
}

// apiVersionsKey is the one request that may be newer than the table: it is how a client finds out.
const apiVersionsKey = 18

const produceKey = 0

// byKey finds an API in O(1); the table is small and its keys are below 128.
var byKey = func() (by [128]*API) {
	for i := range table {
		by[table[i].Key] = &table[i]
	}
	return by
}()

// Table is the list of what is served, in key order. The caller may keep and change it.
func Table() []API { return append([]API(nil), table...) }

// Lookup finds a served API.
func Lookup(key int16) (API, bool) {
	if a := lookup(key); a != nil {
		return *a, true
	}
	return API{}, false
}

func lookup(key int16) *API {
	if key < 0 || int(key) >= len(byKey) {
		return nil
	}
	return byKey[key]
}

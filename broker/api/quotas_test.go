package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/quota"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// quotaOp is one limit to set, or, at 0, to remove.
type quotaOp struct {
	key   string
	value float64
}

// alterQuota changes the limits of an entity, given as type, name, type, name; "<default>" is the default.
func (s *harness) alterQuota(entity []string, ops ...quotaOp) kmsg.AlterClientQuotasResponseEntry {
	s.t.Helper()
	e := kmsg.NewAlterClientQuotasRequestEntry()
	for i := 0; i < len(entity); i += 2 {
		c := kmsg.NewAlterClientQuotasRequestEntryEntity()
		c.Type = entity[i]
		if entity[i+1] != "<default>" {
			c.Name = &entity[i+1]
		}
		e.Entity = append(e.Entity, c)
	}
	for _, o := range ops {
		op := kmsg.NewAlterClientQuotasRequestEntryOp()
		op.Key, op.Value, op.Remove = o.key, o.value, o.value == 0
		e.Ops = append(e.Ops, op)
	}
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.Entries = append(req.Entries, e)
	return ask[*kmsg.AlterClientQuotasResponse](s, req, 1).Entries[0]
}

// describeQuotas counts the entities that match; a component is type, match type, name.
func (s *harness) describeQuotas(strict bool, components ...[3]any) (int, int16) {
	req := kmsg.NewPtrDescribeClientQuotasRequest()
	req.Strict = strict
	for _, c := range components {
		rc := kmsg.NewDescribeClientQuotasRequestComponent()
		rc.EntityType, rc.MatchType = c[0].(string), kmsg.QuotasMatchType(c[1].(int))
		if n, ok := c[2].(string); ok {
			rc.Match = &n
		}
		req.Components = append(req.Components, rc)
	}
	r := ask[*kmsg.DescribeClientQuotasResponse](s, req, 1)
	return len(r.Entries), r.ErrorCode
}

// quotaHarness has quotas that follow the image.
func quotaHarness(t *testing.T) *harness {
	s := newHarness(t)
	s.Quotas = quota.New(time.Now, time.Second)
	follow := s.meta.applied
	s.meta.applied = func(old, m *image.Image) { follow(old, m); s.Quotas.Follow(m) }
	s.peer.Principal = "User:ANONYMOUS"
	return s
}

// A filter would find other entities than it names, or be taken where Kafka refuses it.
func TestDescribeClientQuotas(t *testing.T) {
	s := newHarness(t)
	for _, e := range [][]string{
		{"user", "a"}, {"user", "a", "client-id", "c"}, {"user", "<default>"}, {"client-id", "c"}, {"client-id", "<default>"}, {"user", "b", "client-id", "<default>"},
	} {
		if r := s.alterQuota(e, quotaOp{"producer_byte_rate", 100}); r.ErrorCode != 0 {
			t.Fatalf("%v: %s", e, *r.ErrorMessage)
		}
	}
	s.alterQuota([]string{"ip", "10.0.0.1"}, quotaOp{"connection_creation_rate", 5})
	for _, c := range []struct {
		strict bool
		filter [][3]any
		found  int
		code   int16
	}{
		{false, nil, 7, 0},
		{true, nil, 0, 0},
		{false, [][3]any{{"user", 0, "a"}}, 2, 0},
		{true, [][3]any{{"user", 0, "a"}}, 1, 0},
		{false, [][3]any{{"user", 1, nil}}, 1, 0},
		{false, [][3]any{{"user", 2, nil}}, 4, 0},
		{true, [][3]any{{"user", 2, nil}}, 2, 0},
		{true, [][3]any{{"user", 2, nil}, {"client-id", 2, nil}}, 2, 0},
		{false, [][3]any{{"client-id", 0, "c"}}, 2, 0},
		{false, [][3]any{{"user", 0, "b"}, {"client-id", 1, nil}}, 1, 0},
		{false, [][3]any{{"ip", 0, "10.0.0.1"}}, 1, 0},
		{false, [][3]any{{"ip", 1, nil}}, 0, 0},
		{false, [][3]any{{"", 2, nil}}, 0, kerr.InvalidRequest.Code},
		{false, [][3]any{{"group", 2, nil}}, 0, kerr.UnsupportedVersion.Code},
		{false, [][3]any{{"user", 0, nil}}, 0, kerr.InvalidRequest.Code},
		{false, [][3]any{{"user", 1, "a"}}, 0, kerr.InvalidRequest.Code},
		{false, [][3]any{{"user", 3, nil}}, 0, kerr.InvalidRequest.Code},
		{false, [][3]any{{"user", 2, nil}, {"user", 0, "a"}}, 0, kerr.InvalidRequest.Code},
		{false, [][3]any{{"user", 2, nil}, {"ip", 2, nil}}, 0, kerr.InvalidRequest.Code},
	} {
		if found, code := s.describeQuotas(c.strict, c.filter...); found != c.found || code != c.code {
			t.Errorf("strict %v, %v: %d entities, code %d; want %d, %d", c.strict, c.filter, found, code, c.found, c.code)
		}
	}
}

// A change that cannot be would be made, in part or whole, or one that can be refused.
func TestAlterClientQuotas(t *testing.T) {
	s := newHarness(t)
	for _, c := range []struct {
		entity []string
		ops    []quotaOp
		want   *kerr.Error
	}{
		{[]string{"user", "a"}, []quotaOp{{"producer_byte_rate", 1000}, {"request_percentage", 12.5}}, nil},
		{[]string{"user", "a"}, []quotaOp{{"producer_byte_rate", 0}}, nil},
		{[]string{"user", "a"}, []quotaOp{{"consumer_byte_rate", 0}}, nil}, // not there: nothing to do
		{[]string{"user", "a"}, []quotaOp{{"consumer_byte_rate", 7}, {"consumer_byte_rate", 8}}, kerr.InvalidRequest},
		{[]string{"user", "a"}, []quotaOp{{"consumer_byte_rate", 1.5}}, kerr.InvalidRequest},
		{[]string{"user", "a"}, []quotaOp{{"consumer_byte_rate", -1}}, kerr.InvalidRequest},
		{[]string{"user", "a"}, []quotaOp{{"nothing", 1}}, kerr.InvalidRequest},
		{[]string{"user", "a"}, []quotaOp{{"nothing", 0}}, kerr.InvalidRequest},
		{[]string{"user", ""}, []quotaOp{{"consumer_byte_rate", 1}}, kerr.InvalidRequest},
		{[]string{"group", "a"}, []quotaOp{{"consumer_byte_rate", 1}}, kerr.InvalidRequest},
		{[]string{"user", "a", "user", "b"}, []quotaOp{{"consumer_byte_rate", 1}}, kerr.InvalidRequest},
		{[]string{"user", "a", "ip", "10.0.0.1"}, []quotaOp{{"consumer_byte_rate", 1}}, kerr.InvalidRequest},
		{[]string{"ip", "host"}, []quotaOp{{"connection_creation_rate", 1}}, kerr.InvalidRequest},
		{nil, []quotaOp{{"consumer_byte_rate", 1}}, kerr.InvalidRequest},
	} {
		r := s.alterQuota(c.entity, c.ops...)
		if got := kerr.ErrorForCode(r.ErrorCode); c.want == nil && got != nil || c.want != nil && got != c.want {
			t.Errorf("%v %v: %v, want %v", c.entity, c.ops, got, c.want)
		}
	}
	m := s.meta.Image()
	if n := len(m.ConfigNames(command.ClientQuota)); n != 1 {
		t.Errorf("%d entities have limits", n)
	}
	if l := m.Configs(command.ClientQuota, "users/a"); len(l) != 1 || l["request_percentage"] != "12.5" {
		t.Errorf("user a has %v", l)
	}
}

// A producer would go beyond its rate and not be told, or be told to wait when it has not.
func TestProduceQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quotaHarness(t)
		id := s.topic("t", 1)
		produce := func() int32 {
			return ask[*kmsg.ProduceResponse](s, produceRequest(id, -1, 0), 13).ThrottleMillis
		}
		if ms := produce(); ms != 0 {
			t.Errorf("without a quota: %d ms", ms)
		}
		size := float64(len(produceRequest(id, -1, 0).Topics[0].Partitions[0].Records))
		s.alterQuota([]string{"client-id", "<default>"}, quotaOp{"producer_byte_rate", size})
		if ms := produce(); ms != 0 {
			t.Errorf("what was saved up: %d ms", ms)
		}
		if ms := produce(); ms != 1000 {
			t.Errorf("a second's worth too much: %d ms", ms)
		}
		time.Sleep(2 * time.Second)
		if ms := produce(); ms != 0 {
			t.Errorf("after the wait: %d ms", ms)
		}
	})
}

// A consumer that has had too much would get more, or lose what it was not given, in a session and without.
func TestFetchQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quotaHarness(t)
		id := s.topic("t", 1)
		s.log(id, 0).append(10)
		s.alterQuota([]string{"user", "ANONYMOUS"}, quotaOp{"consumer_byte_rate", unit})
		full := s.fetchNow(fetchRequest(0, 0, time.Minute, wanted{id, 0, 0}))
		if n := full.Topics[0].Partitions[0].Records.Len(); full.ThrottleMs != 0 || n != 10*unit {
			t.Fatalf("the first fetch: %d bytes, %d ms", n, full.ThrottleMs)
		}
		release(full)
		none := s.fetchNow(fetchRequest(full.SessionID, 1, time.Minute, wanted{id, 0, 5}))
		if none.ErrorCode != 0 || len(none.Topics) != 0 || none.ThrottleMs != 9000 {
			t.Errorf("a second fetch of a session: %+v", none)
		}
		alone := s.fetchNow(fetchRequest(0, -1, time.Minute, wanted{id, 0, 5}))
		if p := alone.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.HighWatermark != 10 || p.Records.Len() != 0 || alone.ThrottleMs != 9000 {
			t.Errorf("a fetch without a session: %+v", alone)
		}
		time.Sleep(9 * time.Second)
		rest := s.fetchNow(fetchRequest(full.SessionID, 2, time.Minute))
		if len(rest.Topics) != 1 || rest.Topics[0].Partitions[0].Records.Len() != 5*unit || rest.ThrottleMs != 0 {
			t.Errorf("after the wait: %+v", rest)
		}
		release(rest)
		s.nothingHeld()
	})
}

// More partitions would be created and deleted than the limit, by clients old or new.
func TestMutationQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quotaHarness(t)
		s.await = func(context.Context, kafka.Partition) error { return nil }
		s.alterQuota([]string{"client-id", "<default>"}, quotaOp{"controller_mutation_rate", 1})
		create := func(version int16, names ...string) *kmsg.CreateTopicsResponse {
			req := kmsg.NewPtrCreateTopicsRequest()
			req.TimeoutMillis = 1000
			for _, n := range names {
				rt := kmsg.NewCreateTopicsRequestTopic()
				rt.Topic, rt.NumPartitions, rt.ReplicationFactor = n, 3, 1
				req.Topics = append(req.Topics, rt)
			}
			return ask[*kmsg.CreateTopicsResponse](s, req, version)
		}
		r := create(7, "a", "b")
		if r.Topics[0].ErrorCode != 0 || r.Topics[1].ErrorCode != kerr.ThrottlingQuotaExceeded.Code || r.ThrottleMillis != 2000 {
			t.Errorf("three partitions, and three more: %+v", r)
		}
		if r := create(5, "c"); r.Topics[0].ErrorCode != 0 || r.ThrottleMillis != 5000 {
			t.Errorf("of an older client: %+v", r)
		}
		req := kmsg.NewPtrDeleteTopicsRequest()
		rt, name := kmsg.NewDeleteTopicsRequestTopic(), "a"
		rt.Topic = &name
		req.Topics, req.TimeoutMillis = append(req.Topics, rt), 1000
		if d := ask[*kmsg.DeleteTopicsResponse](s, req, 6); d.Topics[0].ErrorCode != kerr.ThrottlingQuotaExceeded.Code {
			t.Errorf("a deletion: %+v", d)
		}
		time.Sleep(6 * time.Second)
		if d := ask[*kmsg.DeleteTopicsResponse](s, req, 6); d.Topics[0].ErrorCode != 0 {
			t.Errorf("a deletion after the wait: %+v", d)
		}
	})
}

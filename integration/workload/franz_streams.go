package workload

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/qanat-io/qanat/integration/history"
)

// streamer is a member of a streams group (KIP-1071), as Kafka Streams is one, without a state: its topology has one subtopology that reads the topic,
// so that the task of a number reads the partition of that number. It says what it has only between two transactions: a task is given up when nothing
// of it is under way. A heartbeat that is sent amid one says that it still has them all, and what it is answered is taken in afterwards.
type streamer struct {
	piper
	id    string
	epoch int32 // 0: it joins
	// owned (see member) are the tasks that it has, running those that it knows where to go on with.
	running []int32
	beat    time.Time                           // when the last heartbeat was answered
	heard   *kmsg.StreamsGroupHeartbeatResponse // to a heartbeat amid a transaction, not taken in yet
	// coordinator is the group's, -1 while it is not known: the client library has no way for this request.
	coordinator int32
}

// streamsInterval is how often a member speaks: what the fault runs set as group.streams.heartbeat.interval.ms.
const streamsInterval = time.Second

// streams has one member after the other.
func (c *client) streams(ctx context.Context) error {
	versions := kversion.Stable() // does not know the request
	heartbeat := kmsg.NewStreamsGroupHeartbeatRequest()
	versions.SetMaxKeyVersion(heartbeat.Key(), 0)
	for ctx.Err() == nil {
		s := &streamer{piper: c.piper(), id: rand.Text(), coordinator: -1}
		s.who = func() (string, int32) { return s.id, s.epoch }
		s.overtake = s.beatAmid
		cl, err := c.connect(append(c.transacting(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Spec.Topic: {}}), kgo.FetchMaxWait(500*time.Millisecond), kgo.MaxVersions(versions))...)
		if err != nil {
			return err
		}
		s.cl = cl
		for ctx.Err() == nil && s.step(ctx) {
		}
		s.leave()
		cl.Close()
		wait(ctx)
	}
	return nil
}

// step is a heartbeat, if it is time, and a turn; false says that the member is not to go on.
func (s *streamer) step(ctx context.Context) bool {
	if s.heard != nil {
		s.take(s.heard)
	}
	if time.Since(s.beat) > streamsInterval {
		switch err := s.heartbeat(ctx); {
		case err == nil:
		case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.FencedMemberEpoch), errors.Is(err, kerr.GroupIDNotFound):
			return false // a new member joins
		default:
			wait(ctx)
		}
	}
	s.begin(ctx)
	if len(s.running) == 0 {
		wait(ctx)
		return true
	}
	return s.turn(ctx)
}

// heartbeat says what the member has, and takes in what it is to have.
func (s *streamer) heartbeat(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := s.tell(ask, s.say(s.epoch))
	if err != nil {
		return err
	}
	s.take(resp)
	return nil
}

// beatAmid has a heartbeat overtake every fourth commit, as those of Kafka Streams do, which has a thread for them: the member may be in a newer epoch
// then than the one that the commit says. Under mu.
func (s *streamer) beatAmid(ctx context.Context) {
	if s.rng.IntN(4) > 0 {
		return
	}
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s.heard, _ = s.tell(ask, s.say(s.epoch)) // an error comes again with the next
}

// take takes in what the member is to have.
func (s *streamer) take(resp *kmsg.StreamsGroupHeartbeatResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch, s.beat, s.heard = resp.MemberEpoch, time.Now(), nil
	if resp.ActiveTasks == nil {
		return // as before
	}
	var tasks, gone, added []int32
	for _, t := range resp.ActiveTasks {
		tasks = append(tasks, t.Partitions...)
	}
	slices.Sort(tasks)
	for _, p := range s.owned {
		if !slices.Contains(tasks, p) {
			gone = append(gone, p)
		}
	}
	for _, p := range tasks {
		if !slices.Contains(s.owned, p) {
			added = append(added, p)
		}
	}
	if len(gone) > 0 {
		s.stop(gone)
		s.beat = time.Time{} // says at once that they are given up
	}
	if s.owned = tasks; len(added) > 0 {
		s.Assign(s.Spec.Group, s.epoch, s.owned, added)
	}
}

// tell sends a heartbeat to the coordinator. After an error who that is is asked again.
func (s *streamer) tell(ctx context.Context, h *kmsg.StreamsGroupHeartbeatRequest) (*kmsg.StreamsGroupHeartbeatResponse, error) {
	if s.coordinator < 0 {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKeys = []string{s.Spec.Group}
		found, err := req.RequestWith(ctx, s.cl)
		if err != nil {
			return nil, err
		}
		for _, c := range found.Coordinators {
			if err := kerr.ErrorForCode(c.ErrorCode); err != nil {
				return nil, err
			}
			s.coordinator = c.NodeID
		}
	}
	resp, err := h.RequestWith(ctx, s.cl.Broker(int(s.coordinator)))
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		s.coordinator = -1
		return nil, err
	}
	return resp, nil
}

// say is a heartbeat in an epoch.
func (s *streamer) say(epoch int32) *kmsg.StreamsGroupHeartbeatRequest {
	req := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch, req.ProcessID = s.Spec.Group, s.id, epoch, kmsg.StringPtr(s.id)
	req.ActiveTasks, req.StandbyTasks, req.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
	if len(s.owned) > 0 {
		t := kmsg.NewTaskIDs()
		t.SubtopologyID, t.Partitions = "0", s.owned
		req.ActiveTasks = append(req.ActiveTasks, t)
	}
	if epoch == 0 {
		sub := kmsg.NewStreamsGroupHeartbeatRequestTopologySubtopology()
		sub.SubtopologyID, sub.SourceTopics = "0", []string{s.Spec.Topic}
		topology := kmsg.NewStreamsGroupHeartbeatRequestTopology()
		topology.Subtopologies = append(topology.Subtopologies, sub)
		req.Topology, req.RebalanceTimeoutMillis = &topology, 15000
	}
	return req
}

// stop gives tasks up. Under mu.
func (s *streamer) stop(gone []int32) {
	s.cl.RemoveConsumePartitions(map[string][]int32{s.Spec.Topic: gone})
	s.running = slices.DeleteFunc(s.running, func(p int32) bool { return slices.Contains(gone, p) })
	for _, p := range gone {
		delete(s.dirty, p)
		delete(s.base, p)
	}
	s.Revoke(s.Spec.Group, s.epoch, gone)
}

// begin has tasks run whose committed offsets are known: those that a transaction may still change are not.
func (s *streamer) begin(ctx context.Context) {
	var idle []int32
	for _, p := range s.owned {
		if !slices.Contains(s.running, p) {
			idle = append(idle, p)
		}
	}
	if len(idle) == 0 {
		return
	}
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	told, _ := s.offsets(ask, s.cl, func(g *kmsg.OffsetFetchRequestGroup) { // what is not told is asked for again
		g.MemberID, g.MemberEpoch = &s.id, s.epoch
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	from := map[int32]kgo.Offset{}
	for _, p := range idle {
		offset, ok := told[p]
		if !ok {
			continue
		}
		if offset == history.NoOffset {
			offset = 0
		}
		s.next[p], s.base[p] = offset, offset
		s.running = append(s.running, p)
		from[p] = kgo.NewOffset().At(offset)
	}
	s.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.Spec.Topic: from})
}

// leave ends the membership in order.
func (s *streamer) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owned) > 0 {
		s.stop(slices.Clone(s.owned))
		s.owned = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _ = s.tell(ctx, s.say(-1)) // who is not heard is thrown out after its session
}

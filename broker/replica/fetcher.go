package replica

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/kafka"
)

// fetcher fetches from one leader, one request at a time. Only when partitions come while one waits at the leader is the next sent behind
// it: the leader answers the first at once, since it is the same session's. Giving it up instead would end the session, and name
// every partition again for each that comes.
//
// A partition is in one of these places: due (to be named in the next request), in the session (the leader answers when it
// has news), or aside (failed, or busy with the bucket), from where it comes back as due. Whatever is no longer in its place in
// the session is forgotten there by the next request.
type fetcher struct {
	f      *Fetchers
	leader kafka.BrokerID

	mu        sync.Mutex
	partition map[kafka.Partition]*followed
	due       []*followed
	left      []kafka.Partition // to be forgotten by the session
	asides    int               // how many are aside
	changed   bool              // since the last Go
	flying    *flight           // the request whose answer comes next
	second    *flight           // the one behind it, which nudge has sent
	wake      chan struct{}     // holds a token when there is something to do
	session   int32
	epoch     int32  // of the session, in the request after flying: 0 begins one
	denied    bool   // the leader has no room for a session: everything is named each time
	asked     uint64 // requests made

	// The run's own.
	logs []*hot.Log
}

// flight is a request on its way.
type flight struct {
	number  uint64 // by asked
	epoch   int32  // of the session
	req     *kmsg.FetchRequest
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{} // closed when the answer is here; nil when nobody but the run waits for it
	resp    kmsg.Response
	release func()
	err     error
}

// followed is a partition on its way. Guarded by the fetcher's mu, but p and fails.
type followed struct {
	of    *fetcher
	p     *partition.Partition
	epoch kafka.LeaderEpoch
	place place
	at    partition.Position // that the session has
	// named is the number of the request that told it: earlier ones' answers are of somewhere else.
	named uint64
	fails bool // that has been said: nothing more is until it has gone on. Of whoever works on it, the run or a rebase
}

type place int

const (
	due place = iota
	inSession
	aside
	gone
)

func newFetcher(f *Fetchers, leader kafka.BrokerID) *fetcher {
	return &fetcher{f: f, leader: leader, partition: map[kafka.Partition]*followed{}, wake: make(chan struct{}, 1)}
}

func (of *fetcher) add(p *partition.Partition, epoch kafka.LeaderEpoch) *followed {
	fo := &followed{of: of, p: p, epoch: epoch}
	of.mu.Lock()
	defer of.mu.Unlock()
	of.partition[p.ID()] = fo
	of.due = append(of.due, fo)
	of.changed = true
	return fo
}

func (of *fetcher) drop(fo *followed) {
	of.mu.Lock()
	defer of.mu.Unlock()
	id := fo.p.ID()
	if of.partition[id] != fo {
		return
	}
	delete(of.partition, id)
	switch fo.place {
	case inSession:
		of.left = append(of.left, id)
	case aside:
		of.asides--
	}
	fo.place = gone
	of.changed = true
}

// nudge makes changes take effect, whatever waits at the leader. ctx is the run's; nil before it.
func (of *fetcher) nudge(ctx context.Context) {
	of.mu.Lock()
	defer of.mu.Unlock()
	if !of.changed || of.second != nil { // with a second one on its way there are news soon
		return
	}
	of.changed = false
	switch fl := of.flying; {
	case fl == nil:
		of.signal()
	case fl.epoch > 0 && fl.epoch < math.MaxInt32 && ctx != nil:
		of.follow(ctx, fl)
	case of.denied:
		fl.cancel()
	} // otherwise it begins a session, which the leader answers at once
}

// follow sends a request behind one that is on its way. Should it overtake that, the leader refuses it, and the session begins anew. mu is held.
func (of *fetcher) follow(ctx context.Context, fl *flight) {
	second := &flight{epoch: fl.epoch + 1, done: make(chan struct{})}
	second.ctx, second.cancel = context.WithTimeout(ctx, of.f.cfg.MaxWait+requestSlack)
	of.second = second
	of.f.running.Go(func() {
		defer close(second.done)
		of.mu.Lock()
		of.name(second)
		of.mu.Unlock()
		second.ask(of)
	})
}

// ask has the leader answer.
func (fl *flight) ask(of *fetcher) {
	if fl.req == nil {
		fl.err = errNothing
		return
	}
	fl.resp, fl.release, fl.err = of.f.leaders.Request(fl.ctx, of.leader, fl.req)
}

// signal wakes the run; mu is held.
func (of *fetcher) signal() {
	select {
	case of.wake <- struct{}{}:
	default:
	}
}

// back makes a partition that was aside due again.
func (of *fetcher) back(fo *followed) {
	of.mu.Lock()
	defer of.mu.Unlock()
	if fo.place == aside {
		fo.place = due
		of.asides--
		of.due = append(of.due, fo)
		of.signal()
	}
}

// setAside takes a partition out of the session for a while. mu is held.
func (of *fetcher) setAside(fo *followed) {
	if fo.place == inSession {
		of.left = append(of.left, fo.p.ID())
	}
	if fo.place != gone && fo.place != aside {
		fo.place = aside
		of.asides++
	}
}

// again tries a partition again after the back-off.
func (of *fetcher) again(fo *followed) { of.after(fo, of.f.cfg.BackOff) }

func (of *fetcher) after(fo *followed, d time.Duration) {
	of.mu.Lock()
	of.setAside(fo)
	of.mu.Unlock()
	time.AfterFunc(d, func() { of.back(fo) })
}

// hold keeps a partition that is due out of the session for a while: the leader, which may still have it there, would send what it has
// sent before. mu is held.
func (of *fetcher) hold(fo *followed, d time.Duration) {
	of.left = append(of.left, fo.p.ID())
	of.setAside(fo)
	time.AfterFunc(d, func() { of.back(fo) })
}

func (of *fetcher) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		fl := of.fly(ctx)
		if fl == nil {
			select {
			case <-of.wake:
			case <-ctx.Done():
			}
			continue
		}
		if fl.done != nil {
			<-fl.done
		} else {
			fl.ask(of)
		}
		of.mu.Lock()
		of.flying = nil
		of.mu.Unlock()
		givenUp := fl.ctx.Err() != nil && ctx.Err() == nil && errors.Is(fl.err, context.Canceled)
		fl.cancel()
		switch {
		case fl.err == nil:
			failures = 0
			of.handle(ctx, fl)
			fl.release()
		case givenUp:
			of.restart() // what was answered nobody knows
		case errors.Is(fl.err, errNothing):
		case ctx.Err() == nil:
			of.restart()
			if failures++; failures == 1 {
				of.f.log.Info("fetch from a leader failed", "leader", of.leader, "error", fl.err)
			}
			of.pause(ctx, min(of.f.cfg.BackOff<<min(failures-1, 5), time.Second))
		}
	}
	of.abandon()
}

// fly is the request whose answer is to be waited for: the one that nudge has sent, or a new one; nil when there is nothing to fetch.
func (of *fetcher) fly(ctx context.Context) *flight {
	of.mu.Lock()
	if of.second != nil {
		of.flying, of.second = of.second, nil
	} else {
		of.flying = of.request(ctx)
	}
	fl, changed := of.flying, of.changed
	of.mu.Unlock()
	if changed && fl != nil {
		of.nudge(ctx)
	}
	return fl
}

// abandon gives up the request that nudge has sent, if there is one.
func (of *fetcher) abandon() {
	of.mu.Lock()
	second := of.second
	of.second = nil
	of.mu.Unlock()
	if second == nil {
		return
	}
	second.cancel()
	<-second.done
	if second.err == nil {
		second.release()
	}
}

// errNothing says that there is nothing to fetch.
var errNothing = errors.New("nothing to fetch")

// pause waits.
func (of *fetcher) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// restart begins with a new session: every partition is named again.
func (of *fetcher) restart() {
	of.abandon()
	of.mu.Lock()
	defer of.mu.Unlock()
	of.epoch, of.left = 0, nil
	for _, fo := range of.partition {
		if fo.place == inSession {
			fo.place = due
			of.due = append(of.due, fo)
		}
	}
}

// fetchVersion names topics by id and this broker by its registration.
const fetchVersion = 17

// request makes the next one; nil when there is nothing to fetch. mu is held, but let go of while logs are flushed.
func (of *fetcher) request(ctx context.Context) *flight {
	fl := &flight{epoch: of.epoch}
	if of.name(fl); fl.req == nil {
		return nil
	}
	fl.ctx, fl.cancel = context.WithTimeout(ctx, of.f.cfg.MaxWait+requestSlack)
	return fl
}

// name gives a flight its request, which names what is due; none when there is nothing to fetch. mu is held, but let go of while logs are
// flushed.
func (of *fetcher) name(fl *flight) {
	cfg := &of.f.cfg
	if len(of.partition) == 0 {
		of.due, of.left, of.epoch = nil, nil, 0
		return
	}
	req := kmsg.NewPtrFetchRequest()
	req.Version = fetchVersion
	req.ReplicaState.ID, req.ReplicaState.Epoch = int32(cfg.Node), int64(of.f.epoch())
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(cfg.MaxWait.Milliseconds()), 1, cfg.MaxBytes
	switch {
	case fl.epoch == 0 && !of.denied:
		req.MaxWaitMillis = 0 // until there is a session, what comes cannot be named behind it
	case of.asides > 0: // they are not to wait for what the others wait for
		req.MaxWaitMillis = int32(min(cfg.MaxWait, cfg.BackOff).Milliseconds())
	}
	of.asked++
	fl.number = of.asked
	listed, logs := of.nameDue(req, fl)
	if len(logs) > 0 {
		of.mu.Unlock()
		of.flushed(logs)
		of.mu.Lock()
		more, _ := of.nameDue(req, fl)
		listed += more
	}
	switch {
	case fl.epoch > 0:
		req.SessionID = of.session
		of.forget(req)
	case listed == 0:
		return // all are aside
	default:
		of.left = nil
	}
	req.SessionEpoch = fl.epoch
	fl.req = req
}

// nameDue has a request name what is due, and counts it. What somebody who led before has written is to be flushed first: its logs. mu is held.
func (of *fetcher) nameDue(req *kmsg.FetchRequest, fl *flight) (listed int, unflushed []*hot.Log) {
	list := of.due
	of.due = nil
	slowed := 0 // what those that are throttled may bring, together
	for _, fo := range list {
		if fo.place == gone || fo.place == aside {
			continue
		}
		at, flushed := fo.p.Position()
		if !flushed {
			unflushed = append(unflushed, fo.p.Log().Hot())
			of.due = append(of.due, fo)
			continue
		}
		most := of.f.cfg.MaxPartitionBytes
		if limit := of.f.throttle.Following(fo.p.ID()); !limit.None() {
			room := limit.Room() - slowed
			if room <= 0 {
				of.hold(fo, limit.Wait())
				continue
			}
			most = int32(min(int(most), room))
			slowed += int(most)
		}
		fo.place, fo.at, fo.named = inSession, at, fl.number
		addTo(req, fo, most)
		listed++
	}
	return listed, unflushed
}

// requestSlack is how much longer than it was asked to wait a leader may take.
const requestSlack = 10 * time.Second

func addTo(req *kmsg.FetchRequest, fo *followed, maxBytes int32) {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition = fo.p.ID().Index
	p.CurrentLeaderEpoch, p.LastFetchedEpoch = int32(fo.epoch), int32(fo.at.Last)
	p.FetchOffset, p.LogStartOffset = int64(fo.at.From), int64(fo.p.LogStart())
	p.PartitionMaxBytes = maxBytes
	if n := len(req.Topics); n == 0 || req.Topics[n-1].TopicID != fo.p.ID().Topic {
		t := kmsg.NewFetchRequestTopic()
		t.TopicID = fo.p.ID().Topic
		req.Topics = append(req.Topics, t)
	}
	t := &req.Topics[len(req.Topics)-1]
	t.Partitions = append(t.Partitions, p)
}

// forget names what has left the session, unless it is back. mu is held.
func (of *fetcher) forget(req *kmsg.FetchRequest) {
	for _, id := range of.left {
		if fo := of.partition[id]; fo != nil && fo.place == inSession {
			continue
		}
		t := kmsg.NewFetchRequestForgottenTopic()
		t.TopicID, t.Partitions = id.Topic, []int32{id.Index}
		req.ForgottenTopics = append(req.ForgottenTopics, t)
	}
	of.left = nil
}

// handle acts on an answer: everything is appended, then made durable at once.
func (of *fetcher) handle(ctx context.Context, fl *flight) {
	resp := fl.resp.(*kmsg.FetchResponse)
	if resp.ErrorCode != 0 {
		of.f.log.Debug("fetch session ends", "leader", of.leader, "error", kerr.ErrorForCode(resp.ErrorCode))
		of.restart()
		if fl.epoch == 0 {
			of.pause(ctx, of.f.cfg.BackOff)
		}
		return
	}
	of.mu.Lock()
	of.session, of.epoch = resp.SessionID, fl.epoch+1
	of.denied = of.session == 0
	again := of.denied || of.epoch < 0
	of.mu.Unlock()
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			id := kafka.Partition{Topic: t.TopicID, Index: p.Partition}
			of.mu.Lock()
			fo := of.partition[id]
			here := fo != nil && fo.place == inSession && fo.named <= fl.number
			if fo == nil {
				of.left = append(of.left, id) // or the leader would send it again, with every answer
			}
			of.mu.Unlock()
			if here {
				of.take(ctx, fo, p)
			}
		}
	}
	of.flushed(of.logs)
	clear(of.logs)
	of.logs = of.logs[:0]
	if again {
		of.restart() // everything is named each time
	}
}

// flushed makes what was appended to logs durable. An error is the process's end already.
func (of *fetcher) flushed(logs []*hot.Log) {
	if len(logs) == 0 {
		return
	}
	if err := of.f.flusher.FlushLogs(logs); err != nil {
		of.f.log.Error("flush what was replicated", "error", err)
	}
}

// take acts on one partition of an answer.
func (of *fetcher) take(ctx context.Context, fo *followed, p *kmsg.FetchResponseTopicPartition) {
	err := kerr.TypedErrorForCode(p.ErrorCode)
	switch {
	case err == nil && p.DivergingEpoch.Epoch < 0 && p.DivergingEpoch.EndOffset < 0:
		of.appendTo(fo, p)
	case err == nil:
		of.truncate(ctx, fo, partition.EpochEnd{Epoch: kafka.LeaderEpoch(p.DivergingEpoch.Epoch), End: kafka.Offset(p.DivergingEpoch.EndOffset)})
	case err == kerr.OffsetMovedToTieredStorage, err == kerr.OffsetOutOfRange:
		of.rebase(ctx, fo)
	default:
		// Not leader (yet, or any more), an older or newer epoch, a topic that is gone: the image will tell, here or there.
		of.f.log.Debug("leader does not serve a replica", "leader", of.leader, "partition", fo.p.ID().String(), "error", err)
		of.again(fo)
	}
}

func (of *fetcher) appendTo(fo *followed, p *kmsg.FetchResponseTopicPartition) {
	of.f.throttle.Following(fo.p.ID()).Spend(len(p.RecordBatches))
	grew, err := fo.p.AppendFetched(partition.Fetched{
		Epoch: fo.epoch, At: fo.at, Records: p.RecordBatches, HighWatermark: kafka.Offset(p.HighWatermark),
	})
	if err != nil {
		of.failed(fo, err)
		return
	}
	fo.fails = false
	if grew {
		of.f.bytes.Add(int64(len(p.RecordBatches)))
		of.logs = append(of.logs, fo.p.Log().Hot())
		of.moved(fo)
	}
}

// moved has a partition's new position told by the next request.
func (of *fetcher) moved(fo *followed) {
	of.mu.Lock()
	defer of.mu.Unlock()
	if fo.place == inSession {
		fo.place = due
		of.due = append(of.due, fo)
	}
}

func (of *fetcher) truncate(ctx context.Context, fo *followed, end partition.EpochEnd) {
	switch err := fo.p.Truncate(fo.epoch, fo.at, end); {
	case errors.Is(err, partition.ErrGone):
		of.rebase(ctx, fo)
	case err != nil:
		of.failed(fo, err)
	default:
		of.moved(fo)
	}
}

// failed reports what went wrong with a partition, once, and tries it again. What its role's end refuses is no failure: it is
// dropped soon.
func (of *fetcher) failed(fo *followed, err error) {
	if !errors.Is(err, partition.ErrFencedEpoch) && !fo.fails {
		fo.fails = true // a full disk would fail all of them twenty times a second, and be filled by saying so
		of.f.log.Error("replicate partition", "topic", fo.p.Topic(), "partition", fo.p.ID().Index, "leader", of.leader, "error", err)
	}
	if errors.Is(err, partition.ErrNoSpace) {
		of.after(fo, roomInterval) // or all that is fetched meanwhile would be fetched for nothing
		return
	}
	of.again(fo)
}

// roomInterval is how often a follower looks whether its volume has room again.
const roomInterval = time.Second

// rebase begins a partition's log anew where the bucket ends, beside the fetching of the others. When the bucket ends no later
// than the log, the image that says why the leader has nothing is still to come.
func (of *fetcher) rebase(ctx context.Context, fo *followed) {
	log := fo.p.Log()
	if max(log.Manifest().End(), log.Start()) <= log.End() && log.Hot().Damage() == nil {
		of.again(fo)
		return
	}
	of.mu.Lock()
	of.setAside(fo)
	of.mu.Unlock()
	of.f.running.Go(func() {
		within, cancel := context.WithTimeout(ctx, of.f.cfg.RebaseTimeout)
		defer cancel()
		if err := fo.p.Rebase(within, fo.epoch); err != nil && ctx.Err() == nil {
			of.failed(fo, err)
			return
		}
		of.back(fo)
	})
}

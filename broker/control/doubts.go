package control

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Doubts keep a broker from telling clients of a leader that is dead already.
//
// A client whose broker was killed asks another one who leads now, and may do so before that one has heard of it: it is a race of
// two closing connections. If it is told of the dead leader, which is what the image still says, it may not ask again for seconds:
// franz-go's MetadataMinAge is 5 s. So whoever answers such a question first asks all other active brokers for a sign of life:
//
//	ask ─┬─ all answer ─▸ until the image here is as new as theirs ─────▸ settled
//	     └─ one does not, or has closed a connection ─▸ in doubt ─▸ probe ─┬─ lives ─▸ settled
//	                                                                       ├─ dead ──▸ until the image has it fenced
//	                                                                       └─ silent ▸ settled; not waited for until it is heard
//
// What must stay true: at most one sign is asked for at a time of each broker, however many ask; nobody waits longer than a
// doubt lasts; who is cut off from a broker does not make every client wait for it each time.
type Doubts struct {
	quorum Quorum
	peers  Peers
	self   kafka.BrokerID

	mu      sync.Mutex
	others  map[kafka.BrokerID]*other
	changed chan struct{} // closed and replaced with every image that changes anything
}

// other is what is known of another broker.
type other struct {
	doubt chan struct{} // closed when it is settled; nil: there is none
	next  chan struct{} // closed when the next sign has come, or has not; nil: nobody asks
	busy  bool          // signs are being asked for
	index uint64        // of its image, as it last said
	mute  bool          // it is silent: nobody waits
}

const (
	// signWithin is how long a sign of life may take: a broker that is merely busy is not in doubt.
	signWithin = 500 * time.Millisecond
	// doubtFor bounds a doubt. A cluster that has lost its metadata leader, too, needs some 200 ms to fence anybody, and with a vote that is
	// split one or two seconds.
	doubtFor = 4 * time.Second
	// newsWithin is how long news from another broker are waited for.
	newsWithin = 50 * time.Millisecond
	// dyingPause is between two looks at a broker that has hung up.
	dyingPause = 5 * time.Millisecond
)

// NewDoubts returns doubts about the other brokers than self.
func NewDoubts(self kafka.BrokerID, q Quorum, p Peers) *Doubts {
	d := &Doubts{quorum: q, peers: p, self: self, others: map[kafka.BrokerID]*other{}, changed: make(chan struct{})}
	q.Subscribe(func(_, _ *image.Image, ch image.Changes) {
		if ch.Empty() {
			return
		}
		d.mu.Lock()
		close(d.changed)
		d.changed = make(chan struct{})
		d.mu.Unlock()
	})
	p.OnClose(func(node kafka.BrokerID) {
		d.mu.Lock()
		d.begin(node)
		d.mu.Unlock()
	})
	return d
}

// Settle waits until the newest image tells of no leader that is known to be dead, or ctx ends.
func (d *Doubts) Settle(ctx context.Context) {
	var waits []<-chan struct{}
	m := d.quorum.Image()
	d.mu.Lock()
	m.Brokers(func(b *image.Broker) bool {
		if b.ID != d.self && b.State != command.Fenced {
			if sign := d.ask(b.ID); !d.of(b.ID).mute {
				waits = append(waits, sign)
			}
		}
		return true
	})
	d.mu.Unlock()
	await := func() bool {
		for _, c := range waits {
			select {
			case <-c:
			case <-ctx.Done():
				return false
			}
		}
		return true
	}
	if !await() {
		return
	}
	waits = waits[:0]
	newest := uint64(0)
	d.mu.Lock()
	for _, o := range d.others {
		newest = max(newest, o.index)
		if o.doubt != nil && !o.mute {
			waits = append(waits, o.doubt)
		}
	}
	d.mu.Unlock()
	if await() {
		d.reach(ctx, newest)
	}
}

// reach waits, for a moment, until the image here is as new as one there is: a client that was sent away by one broker is not to be sent
// back by another.
func (d *Doubts) reach(ctx context.Context, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, newsWithin)
	defer cancel()
	for {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		if d.quorum.Image().Index() >= index {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Answer is what a Ping is answered with.
func (d *Doubts) Answer() []byte { return cbor.MustMarshal(sign{Index: d.quorum.Image().Index()}) }

// sign is a sign of life.
type sign struct {
	Index uint64 `cbor:"1,keyasint"` // of the newest command that its image holds
}

func (d *Doubts) of(node kafka.BrokerID) *other {
	o := d.others[node]
	if o == nil {
		o = &other{}
		d.others[node] = o
	}
	return o
}

// ask has a broker asked for a sign of life; what it returns is closed when one that was asked for later than this call has come, or
// the broker is in doubt. mu is held.
func (d *Doubts) ask(node kafka.BrokerID) <-chan struct{} {
	o := d.of(node)
	if o.next == nil {
		o.next = make(chan struct{})
	}
	sign := o.next
	if !o.busy {
		o.busy = true
		go d.signs(node, o)
	}
	return sign
}

// signs asks for one sign after another, for as long as somebody wants one.
func (d *Doubts) signs(node kafka.BrokerID, o *other) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for o.next != nil {
		next := o.next
		o.next = nil
		d.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), signWithin)
		answer, err := d.peers.Ping(ctx, node)
		cancel()
		s, decoded := decode[sign](answer)
		d.mu.Lock()
		if err == nil && decoded == nil {
			o.mute, o.index = false, max(o.index, s.Index)
		} else {
			d.begin(node)
		}
		close(next)
	}
	o.busy = false
}

// begin opens a doubt, if there is reason to. mu is held.
func (d *Doubts) begin(node kafka.BrokerID) {
	b, ok := d.quorum.Image().Broker(node)
	if node == d.self || !ok || b.State == command.Fenced {
		return
	}
	o := d.of(node)
	if o.doubt != nil {
		return
	}
	o.doubt = make(chan struct{})
	go d.settle(o, node, b.Epoch)
}

// settle finds out about a broker, and ends the doubt.
func (d *Doubts) settle(o *other, node kafka.BrokerID, epoch kafka.BrokerEpoch) {
	ctx, cancel := context.WithTimeout(context.Background(), doubtFor)
	defer cancel()
	found := d.find(ctx, node)
	mute := found == Silent || found == Gone && !d.fenced(ctx, node, epoch)
	d.mu.Lock()
	defer d.mu.Unlock()
	o.mute = mute
	close(o.doubt)
	o.doubt = nil
}

// find looks at a broker until it is known to be there or gone, for a while. A process that is just dying still has its port taken
// up by the kernel, and hangs up.
func (d *Doubts) find(ctx context.Context, node kafka.BrokerID) Found {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	for {
		found := d.peers.Probe(ctx, node)
		if found != Silent || ctx.Err() != nil {
			return found
		}
		pause := time.NewTimer(dyingPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// inCharge tells whether a broker leads partitions that others could lead, or that were just taken from it and have nobody yet.
func inCharge(m *image.Image, node kafka.BrokerID) (found bool) {
	m.Topics(func(t *image.Topic) bool {
		m.Partitions(t.ID, func(p *image.Partition) bool {
			found = found || p.Leader == node || p.Leader == kafka.NoBroker && slices.ContainsFunc(p.ISR, func(id kafka.BrokerID) bool {
				return id != node && state(m, id) == command.Active
			})
			return !found
		})
		return !found
	})
	return found
}

// fenced waits until the image does not count on a broker of that epoch any more, and others lead what they can.
func (d *Doubts) fenced(ctx context.Context, node kafka.BrokerID, epoch kafka.BrokerEpoch) bool {
	for {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		m := d.quorum.Image()
		if b, ok := m.Broker(node); !ok || b.Epoch != epoch || b.State == command.Fenced && !inCharge(m, node) {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

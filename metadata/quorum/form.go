package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Form: become a member of the cluster that is named. Asked by the lowest of those who form one; all of them write the same
// first entry into their logs.
//
//	lowest id                         others of cluster.peers
//	  │ Hello ──────────────────────────▶ │ not formed, the same peers: all of them
//	  │ draws the cluster id, writes it down with everybody's directory
//	  │ Form ───────────────────────────▶ │ writes it down, starts
//	  │ starts; asks on until each has it │
//
// As soon as any node answers that it is of a cluster, that is the one: who is not among its members joins (join.go).

type formQuestion struct {
	Cluster  string    `cbor:"1,keyasint"`
	Founders []Founder `cbor:"2,keyasint"`
}

type formAnswer struct{}

// Seed is a node of cluster.peers.
type Seed struct {
	Node    kafka.BrokerID
	Address string
}

// EntryConfig is what a node on its way into a cluster is told.
type EntryConfig struct {
	Dir       string // as Config.Dir
	Node      kafka.BrokerID
	Directory Directory
	Cluster   string // cluster.id, "" for whichever
	Advertise string // HOST:PORT
	Seeds     []Seed // cluster.peers, with this node or without
	Peers     Peers
	Log       *slog.Logger
}

// Entry is a node on its way into a cluster. While Enter runs, Handle answers the calls of others.
type Entry struct {
	EntryConfig

	mu      sync.Mutex
	who     Identity // settled
	joining bool     // a leader was asked to admit this directory: it forms nothing any more
	formed  chan struct{}
}

// NewEntry returns an entry that has not begun.
func NewEntry(c EntryConfig) *Entry { return &Entry{EntryConfig: c, formed: make(chan struct{})} }

// entryRound is how often a node that waits looks at the others again.
const entryRound = 100 * time.Millisecond

// entryCall bounds one call of it.
const entryCall = 3 * time.Second

// Enter forms the cluster with the others, or joins the one that there is, and returns the identity that is then in the
// directory. It takes as long as it takes for the others to come: it says now and then what it waits for.
func (e *Entry) Enter(ctx context.Context) (Identity, error) {
	round := time.NewTicker(entryRound)
	defer round.Stop()
	said := ""
	for {
		waits, err := e.try(ctx)
		if err != nil {
			return Identity{}, err
		}
		e.mu.Lock()
		who := e.who
		e.mu.Unlock()
		if who.Cluster != "" {
			return who, nil
		}
		if waits != said && ctx.Err() == nil { // else it waits for nothing but its own end
			e.Log.Info("waiting to be part of a cluster", "for", waits)
			said = waits
		}
		select {
		case <-ctx.Done():
			return Identity{}, fmt.Errorf("not part of a cluster: %s: %w", said, ctx.Err())
		case <-e.formed:
		case <-round.C:
		}
	}
}

// found is what a round has learnt of one node.
type found struct {
	seed   Seed
	answer helloAnswer
	err    error
}

// look asks all others who they are.
func (e *Entry) look(ctx context.Context) []found {
	var others []found
	for _, s := range e.Seeds {
		if s.Node != e.Node {
			others = append(others, found{seed: s})
		}
	}
	var asking sync.WaitGroup
	for i := range others {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, entryCall)
			defer cancel()
			o := &others[i]
			o.answer, _, o.err = askAt[helloAnswer](ctx, e.Peers, o.seed.Node, o.seed.Address, CallHello, helloQuestion{})
		})
	}
	asking.Wait()
	return others
}

// try is one round: it says what it waits for, or has settled the identity. An error will not pass by itself.
func (e *Entry) try(ctx context.Context) (waits string, err error) {
	others := e.look(ctx)
	for _, o := range others {
		if o.err == nil && o.answer.Cluster != "" {
			return e.enterFormed(ctx, o, others)
		}
	}
	ids := e.ids()
	if !slices.Contains(ids, e.Node) {
		return "a cluster at one of cluster.peers: " + unformed(others), nil
	}
	for _, o := range others {
		switch {
		case errors.Is(o.err, ErrRefused), errors.Is(o.err, ErrStale):
			return "", o.err
		case o.err != nil:
			return fmt.Sprintf("broker %d: %v", o.seed.Node, o.err), nil
		case !slices.Equal(o.answer.Peers, ids):
			return fmt.Sprintf("broker %d to have the same cluster.peers: it has %v, broker %d has %v", o.seed.Node, o.answer.Peers, e.Node, ids), nil
		case o.answer.Wanted != "" && e.Cluster != "" && o.answer.Wanted != e.Cluster:
			return fmt.Sprintf("broker %d to have the same cluster.id: it has %q, broker %d has %q", o.seed.Node, o.answer.Wanted, e.Node, e.Cluster), nil
		}
	}
	if e.Node != ids[0] {
		return fmt.Sprintf("broker %d to form the cluster", ids[0]), nil
	}
	return "", e.form(others)
}

// unformed says of each node why nothing can be joined there.
func unformed(others []found) string {
	var list []string
	for _, o := range others {
		switch {
		case o.err != nil:
			list = append(list, fmt.Sprintf("broker %d: %v", o.seed.Node, o.err))
		default:
			list = append(list, fmt.Sprintf("broker %d is not part of one yet", o.seed.Node))
		}
	}
	return strings.Join(list, "; ")
}

// ids are the nodes of cluster.peers, sorted.
func (e *Entry) ids() []kafka.BrokerID {
	var ids []kafka.BrokerID
	for _, s := range e.Seeds {
		ids = append(ids, s.Node)
	}
	slices.Sort(ids)
	return ids
}

// form draws the cluster and writes it down; Announce tells the others.
func (e *Entry) form(others []found) error {
	cluster := e.Cluster
	for _, o := range others {
		if cluster == "" {
			cluster = o.answer.Wanted
		}
	}
	if cluster == "" {
		cluster = newClusterID()
	}
	founders := []Founder{{Node: e.Node, Address: e.Advertise, Directory: e.Directory}}
	for _, o := range others {
		founders = append(founders, Founder{Node: o.seed.Node, Address: o.seed.Address, Directory: o.answer.Directory})
	}
	slices.SortFunc(founders, func(a, b Founder) int { return int(a.Node - b.Node) })
	e.Log.Info("forming a cluster", "cluster", cluster, "brokers", e.ids())
	return e.settle(Identity{Cluster: cluster, Founders: founders})
}

// settle writes the identity, unless one is settled already.
func (e *Entry) settle(who Identity) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.who.Cluster != "" {
		return nil
	}
	who.Node, who.Directory = e.Node, e.Directory
	if err := writeIdentity(e.Dir, who); err != nil {
		return err
	}
	e.who = who
	close(e.formed)
	return nil
}

// Handle answers the calls of others while this node is part of no cluster.
func (e *Entry) Handle(_ context.Context, c Call, from wire.Peer, body []byte) ([]byte, error) {
	e.mu.Lock()
	who := e.who
	e.mu.Unlock()
	switch c {
	case CallHello:
		if _, err := decodeMessage[helloQuestion](body); err != nil {
			return nil, err
		}
		return cbor.MustMarshal(helloAnswer{Cluster: who.Cluster, Peers: e.ids(), Directory: e.Directory, Leader: kafka.NoBroker, Members: who.Founders, Wanted: e.Cluster}), nil
	case CallForm:
		q, err := decodeMessage[formQuestion](body)
		if err != nil {
			return nil, err
		}
		if err := e.accept(from, q); err != nil {
			return nil, err
		}
		return cbor.MustMarshal(formAnswer{}), nil
	}
	return nil, fmt.Errorf("%w: broker %d is not part of a cluster yet", ErrNotReady, e.Node)
}

// accept becomes a member of the cluster that another node forms.
func (e *Entry) accept(from wire.Peer, q formQuestion) error {
	ids := e.ids()
	var theirs []kafka.BrokerID
	mine := false
	for _, f := range q.Founders {
		theirs = append(theirs, f.Node)
		mine = mine || f.Node == e.Node && f.Directory == e.Directory
	}
	switch {
	case q.Cluster == "":
		return fmt.Errorf("%w: a cluster without an id", errMalformed)
	case e.Cluster != "" && e.Cluster != q.Cluster:
		return fmt.Errorf("%w: broker %d is configured for cluster.id %s, broker %d forms cluster %s: give all the same cluster.id", ErrRefused, e.Node, e.Cluster, from.Node, q.Cluster)
	case !mine:
		return fmt.Errorf("%w: broker %d has another directory than broker %d forms a cluster with", ErrStale, e.Node, from.Node)
	case !slices.Equal(ids, theirs):
		return fmt.Errorf("%w: broker %d has cluster.peers %v, broker %d forms a cluster of %v: give all the same cluster.peers", ErrRefused, e.Node, ids, from.Node, theirs)
	}
	e.mu.Lock()
	joining, who := e.joining, e.who
	e.mu.Unlock()
	if who.Cluster != "" && who.Cluster != q.Cluster {
		return fmt.Errorf("%w: broker %d is part of cluster %s already", ErrRefused, e.Node, who.Cluster)
	}
	if joining {
		return fmt.Errorf("%w: broker %d is joining already", ErrNotReady, e.Node)
	}
	return e.settle(Identity{Cluster: q.Cluster, Founders: q.Founders})
}

func (q *Quorum) serveForm(body []byte) ([]byte, error) {
	f, err := decodeMessage[formQuestion](body)
	if err != nil {
		return nil, err
	}
	if f.Cluster != q.clusterID {
		return nil, fmt.Errorf("%w: broker %d is part of cluster %s already", ErrRefused, q.cfg.ID, q.clusterID)
	}
	return cbor.MustMarshal(formAnswer{}), nil
}

// spreadFounding tells the other founders of the cluster until each has answered, once. Only the first of them does.
func (q *Quorum) spreadFounding(ctx context.Context) {
	f := q.who.Founders
	if len(f) == 0 || f[0].Node != q.cfg.ID {
		return
	}
	question := formQuestion{Cluster: q.clusterID, Founders: f}
	var telling sync.WaitGroup
	for _, o := range f[1:] {
		telling.Go(func() { q.tellFounder(ctx, o, question) })
	}
	telling.Wait()
	if ctx.Err() != nil {
		return
	}
	told := q.who
	told.Founders = nil // the log has them
	if err := writeIdentity(q.cfg.Dir, told); err != nil {
		q.log.Warn("note that the cluster is formed", "error", err) // the next start tells them again
	}
}

func (q *Quorum) tellFounder(ctx context.Context, o Founder, question formQuestion) {
	for pause := firstPause; ; pause = min(2*pause, entryCall) {
		call, cancel := context.WithTimeout(ctx, entryCall)
		_, _, err := askAt[formAnswer](call, q.cfg.Peers, o.Node, o.Address, CallForm, question)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrRefused) || errors.Is(err, ErrStale) {
			// It has another directory by now, or is elsewhere: it joins, if it is to be one of us.
			q.log.Warn("a broker does not form the cluster with this one", "broker", o.Node, "error", err)
			return
		}
		q.log.Debug("tell a broker of the cluster", "broker", o.Node, "error", err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

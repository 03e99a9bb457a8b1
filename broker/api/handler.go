package api

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/clientmetrics"
	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/hush"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/quota"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/broker/throttle"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Partitions finds the partitions that this broker hosts; broker passes them in.
type Partitions interface {
	// Get returns nil when the broker does not host p (yet). Lock-free.
	Get(p kafka.Partition) *partition.Partition
	// Await returns when p, whose creation has been committed, is hosted, or says why that failed.
	Await(ctx context.Context, p kafka.Partition) error
	// Followed is closed when the partitions have followed another image.
	Followed() <-chan struct{}
}

// Volume is the local data directory, as DescribeLogDirs reports it.
type Volume struct {
	Dir string
	// Space tells the volume's size and what is free of it, in bytes. May be nil: unknown.
	Space func() (total, usable int64, err error)
}

// Deps are the parts that answers are made from. Those marked optional may be left zero.
type Deps struct {
	Node       kafka.BrokerID
	Quorum     *quorum.Quorum
	Partitions Partitions
	Groups     *coordinator.Coordinator
	// Transactions are nil where none are served. Optional.
	Transactions *Transactions
	// Shares are nil where no share groups are served. Optional.
	Shares    *shareleader.Leader
	Config    *config.Broker
	Log       *slog.Logger     // optional
	Clock     func() time.Time // optional: time.Now
	Volume    Volume
	BucketURL string // optional: "" without a bucket
	// Dismiss takes a broker that is forgotten out of the metadata quorum. Optional.
	Dismiss func(ctx context.Context, node kafka.BrokerID) error
	// Settle waits while it is about to be decided who leads, and for no longer than ctx; see control.Doubts. Optional.
	Settle func(ctx context.Context)
	// Appends is told of requests that append to several partitions, so that one flush covers all of them; see hot.Flusher.Begin. Optional.
	Appends interface {
		Begin()
		End()
	}
	// Throttle bounds what is sent to replicas that are not in sync. Optional.
	Throttle *throttle.Replication
	// Quotas bound what clients ask for. Optional.
	Quotas *quota.Quotas
	// ClientMetrics takes what clients tell of themselves; nil where it would go nowhere. Optional.
	ClientMetrics *clientmetrics.Registry
	// StateLogs are what Kafka's internal topics show; nil where there are none. Optional.
	StateLogs *statelog.Logs
	// Forget ends what is read ahead from the bucket for a stream, which is a *wire.Client. Optional.
	Forget func(stream any)
}

// Handler answers every served API. It is safe for concurrent use; Handle is called by each connection's reading goroutine.
type Handler struct {
	Deps

	// find returns the partition as the leader that answers read and write, nil when it is not hosted here. It is
	// Partitions.Get but in tests.
	find func(kafka.Partition) leader
	// await is Partitions.Await, likewise.
	await func(context.Context, kafka.Partition) error
	// followed is Partitions.Followed, likewise.
	followed func() <-chan struct{}

	quorum   metadataQuorum
	settings settings
	view     viewCache
	sessions *sessions

	shareSettings func(m *image.Image, group string) shareleader.Settings

	fetchers  sync.Pool // *fetcher, for fetches without a session
	produces  sync.Pool // *produceCall
	producers producerIDs
	stopping  atomic.Bool   // see Stop
	said      *hush.Log     // lines that clients cause
	lookups   chan struct{} // a token per ListOffsets lookup that may wait for the bucket
	configs   chan struct{} // a token: one read-modify-write of configurations at a time
}

// readable is what this package asks of a *partition.Partition, or of a *statelog.Partition in its place, for who only reads; see
// there for each method.
type readable interface {
	ID() kafka.Partition
	Read(r partition.ReadRequest) (partition.ReadResult, error)
	Subscribe(l partition.Listener) (cancel func())
	Near(from kafka.Offset, wanted func(kafka.BrokerID) bool) (kafka.BrokerID, bool)
	LeaderEpoch() kafka.LeaderEpoch
	HighWatermark() kafka.Offset
	LastStable() kafka.Offset
	LogStart() kafka.Offset
	ListOffset(ctx context.Context, timestamp int64, committed bool) (partition.Listed, error)
	MayBlock(timestamp int64) bool
	Unsettled() bool
	Settle(ctx context.Context)
	CheckEpoch(current kafka.LeaderEpoch) error
	EpochEnd(requested kafka.LeaderEpoch) partition.EpochEnd
	Served(n int, cold, replica bool)
	Producers() []partition.ProducerInfo
}

// leader is what this package asks of a *partition.Partition; see there for each method.
type leader interface {
	readable
	ProduceWithin(t partition.Transaction, records []byte, seen *batch.Checked, acks partition.Acks, timeout time.Duration, w partition.Waiter, slot int)
	Enlists(records []byte) bool
	AppendMarker(e partition.End, timeout time.Duration, w partition.Waiter, slot int)
	Produce(records []byte, seen *batch.Checked, acks partition.Acks, timeout time.Duration, w partition.Waiter, slot int)
	SubscribeAppends(l partition.Listener) (cancel func())
	ReplicaFetched(r partition.Replica, current kafka.LeaderEpoch, at partition.Position) (*partition.EpochEnd, error)
	LocalEnd() kafka.Offset
	Settings() *config.Topic
	Sizes() (local, remote int64)
}

// metadataQuorum is what this package asks of a *quorum.Quorum; see there for each method. An interface for the tests' sake.
type metadataQuorum interface {
	Image() *image.Image
	Propose(ctx context.Context, c command.Command) (result any, err error)
	ProposeAsync(c command.Command, done func(result any, err error))
	LeaderID() kafka.BrokerID
	Describe(ctx context.Context) (quorum.Status, error)
	Promote(ctx context.Context, node kafka.BrokerID) error
	Demote(ctx context.Context, node kafka.BrokerID) error
}

var _ metadataQuorum = (*quorum.Quorum)(nil)

var (
	_ leader   = (*partition.Partition)(nil)
	_ readable = (*statelog.Partition)(nil)
)

// settings are the static configuration values that requests consult, read once.
type settings struct {
	autoCreate        bool
	deleteTopics      bool
	partitions        int32
	replicationFactor int
	fetchMaxBytes     int
	sessionSlots      int
	nearReplicas      bool
}

// lookupTokens bounds how many ListOffsets lookups wait for the bucket at once.
const lookupTokens = 32

// New returns a handler over its parts.
func New(d Deps) *Handler {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Clock == nil {
		d.Clock = time.Now
	}
	h := &Handler{Deps: d, said: hush.New(d.Log), lookups: make(chan struct{}, lookupTokens), configs: make(chan struct{}, 1)}
	h.find = func(p kafka.Partition) leader {
		if q := d.Partitions.Get(p); q != nil {
			return q
		}
		return nil
	}
	h.quorum = d.Quorum
	h.await, h.followed = d.Partitions.Await, d.Partitions.Followed
	h.settings = readSettings(d.Config)
	h.view.internal = d.StateLogs != nil
	h.shareSettings = ShareSettings(d.Config)
	h.sessions = newSessions(h.settings.sessionSlots)
	h.fetchers.New = func() any { return newFetcher(h) }
	h.produces.New = func() any { return &produceCall{h: h} }
	return h
}

func readSettings(c *config.Broker) settings {
	return settings{
		autoCreate:        c.Bool("auto.create.topics.enable"),
		deleteTopics:      c.Bool("delete.topic.enable"),
		partitions:        int32(c.Int("num.partitions")),
		replicationFactor: int(c.Int("default.replication.factor")),
		fetchMaxBytes:     int(c.Int("fetch.max.bytes")),
		sessionSlots:      int(c.Int("max.incremental.fetch.session.cache.slots")),
		nearReplicas:      c.String("replica.selector.class") != "",
	}
}

// Stop has the fetches of sessions that wait for news answered with what there is, and all that come from now on at once: the broker
// stops, and a client that waits for seconds is not to be waited for. Fetches without a session end by their own time, or the server's
// grace. Replicas know better what to do.
func (h *Handler) Stop() {
	h.stopping.Store(true)
	for _, s := range h.sessions.all() {
		s.f.wake()
	}
	h.said.Flush()
}

// complain writes a line that a client can cause as often as it asks.
func (h *Handler) complain(x *wire.Exchange, level slog.Level, line string, args ...any) {
	var from net.Addr
	if x.Client != nil {
		from = x.Client.Addr
	}
	h.said.Say(level, line, from, line, args...)
}

// Handle implements wire.Handler.
func (h *Handler) Handle(x *wire.Exchange) {
	f, ok := handlers[x.Key]
	if !ok {
		x.Reply(wire.Reply{Close: refuse(kerr.UnsupportedVersion, "api key %d has no handler", x.Key)})
		return
	}
	m := h.meter(x)
	if m == nil || f.waits {
		f.by(h, x)
		return
	}
	x.Throttle = m.TimeOwed()
	began := time.Now()
	f.by(h, x)
	m.Took(time.Since(began)) // without what it is parked for
}

// meter is what bounds the client of an exchange; nil when nothing does.
func (h *Handler) meter(x *wire.Exchange) *quota.Meter {
	if x.Client == nil || x.Client.Peer != nil {
		return nil
	}
	return h.Quotas.Meter(strings.TrimPrefix(x.Client.Principal, "User:"), x.ClientID)
}

// holdOff has the client of an exchange that is not answered yet wait for no less than d.
func holdOff(x *wire.Exchange, d time.Duration) { x.Throttle = max(x.Throttle, d) }

// mutations bounds what a request creates and deletes (KIP-599). From a version on clients know THROTTLING_QUOTA_EXCEEDED, and
// are refused what goes beyond the limit; older ones have to wait for the next request.
type mutations struct {
	x      *wire.Exchange
	meter  *quota.Meter
	strict bool
}

func (h *Handler) mutations(x *wire.Exchange, strictFrom int16) mutations {
	return mutations{x, h.meter(x), x.Version >= strictFrom}
}

// admit counts partitions that are to be created or deleted, or refuses.
func (m mutations) admit(partitions int) error {
	if owed := m.meter.MutationOwed(); owed > 0 && m.strict {
		holdOff(m.x, owed)
		return refuse(kerr.ThrottlingQuotaExceeded, "controller_mutation_rate is exceeded: try again in %d ms", owed.Milliseconds()+1)
	}
	holdOff(m.x, m.meter.Mutated(partitions))
	return nil
}

// serves is how an API is served.
type serves struct {
	by func(*Handler, *wire.Exchange)
	// It waits for others within: for the quorum, a coordinator, partitions that come to be. How long that takes is no work of this
	// broker's, and not counted to the client's request_percentage.
	waits bool
}

// handlers has one line per API key; the functions live in the file named after the API.
var handlers = map[int16]serves{
	0:  {by: (*Handler).produce},
	1:  {by: (*Handler).fetch},
	2:  {by: (*Handler).listOffsets},
	3:  {by: (*Handler).metadata},
	8:  {by: (*Handler).offsetCommit},
	9:  {by: (*Handler).offsetFetch},
	10: {by: (*Handler).findCoordinator},
	11: {by: (*Handler).joinGroup},
	12: {by: (*Handler).heartbeat},
	13: {by: (*Handler).leaveGroup},
	14: {by: (*Handler).syncGroup},
	15: {by: (*Handler).describeGroups},
	16: {by: (*Handler).listGroups},
	18: {by: (*Handler).apiVersions},
	19: {by: (*Handler).createTopics, waits: true},
	20: {by: (*Handler).deleteTopics, waits: true},
	21: {by: (*Handler).deleteRecords, waits: true},
	22: {by: (*Handler).initProducerID, waits: true},
	23: {by: (*Handler).offsetForLeaderEpoch},
	24: {by: (*Handler).addPartitionsToTxn, waits: true},
	25: {by: (*Handler).addOffsetsToTxn, waits: true},
	26: {by: (*Handler).endTxn, waits: true},
	27: {by: (*Handler).writeTxnMarkers},
	28: {by: (*Handler).txnOffsetCommit, waits: true},
	32: {by: (*Handler).describeConfigs},
	33: {by: (*Handler).alterConfigs, waits: true},
	34: {by: (*Handler).alterReplicaLogDirs},
	35: {by: (*Handler).describeLogDirs},
	37: {by: (*Handler).createPartitions, waits: true},
	42: {by: (*Handler).deleteGroups, waits: true},
	43: {by: (*Handler).electLeaders, waits: true},
	44: {by: (*Handler).incrementalAlterConfigs, waits: true},
	45: {by: (*Handler).alterPartitionReassignments, waits: true},
	46: {by: (*Handler).listPartitionReassignments},
	47: {by: (*Handler).offsetDelete, waits: true},
	48: {by: (*Handler).describeClientQuotas},
	49: {by: (*Handler).alterClientQuotas, waits: true},
	55: {by: (*Handler).describeQuorum, waits: true},
	57: {by: (*Handler).updateFeatures},
	60: {by: (*Handler).describeCluster},
	61: {by: (*Handler).describeProducers},
	64: {by: (*Handler).unregisterBroker, waits: true},
	65: {by: (*Handler).describeTransactions},
	66: {by: (*Handler).listTransactions},
	68: {by: (*Handler).consumerGroupHeartbeat},
	69: {by: (*Handler).consumerGroupDescribe},
	71: {by: (*Handler).getTelemetrySubscriptions},
	72: {by: (*Handler).pushTelemetry},
	74: {by: (*Handler).listConfigResources},
	75: {by: (*Handler).describeTopicPartitions},
	76: {by: (*Handler).shareGroupHeartbeat},
	77: {by: (*Handler).shareGroupDescribe},
	78: {by: (*Handler).shareFetch},
	79: {by: (*Handler).shareAcknowledge},
	80: {by: (*Handler).addRaftVoter, waits: true},
	81: {by: (*Handler).removeRaftVoter, waits: true},
	88: {by: (*Handler).streamsGroupHeartbeat},
	89: {by: (*Handler).streamsGroupDescribe},
	90: {by: (*Handler).describeShareGroupOffsets},
	91: {by: (*Handler).alterShareGroupOffsets},
	92: {by: (*Handler).deleteShareGroupOffsets},
}

// reply answers with a message in the request's version.
func reply(x *wire.Exchange, m kmsg.Response) {
	m.SetVersion(x.Version)
	x.Reply(wire.Reply{Message: m})
}

// maxAdminWait bounds how long an administrative request may hold up its connection, whatever its client asks for.
const maxAdminWait = 5 * time.Minute

// within is the context of a blocking request: it ends with the connection, or after the request's own timeout.
func within(x *wire.Exchange, timeoutMs int32) (context.Context, context.CancelFunc) {
	wait := time.Duration(timeoutMs) * time.Millisecond
	return context.WithTimeout(gone(x), min(max(wait, time.Millisecond), maxAdminWait))
}

// gone is the context that ends with the exchange's connection.
func gone(x *wire.Exchange) context.Context {
	if x.Client == nil || x.Client.Gone == nil {
		return context.Background()
	}
	return x.Client.Gone
}

// way is how a client has come: by which listener, which speaks what.
type way struct{ listener, security string }

// listener is the listener that the exchange came in by.
func listener(x *wire.Exchange) way {
	if x.Client == nil {
		return way{}
	}
	return way{x.Client.Listener, x.Client.Security}
}

// proposals are what the quorum is asked for a request: one command each for those of its items that pass.
type proposals struct {
	errs     []error // of the items
	commands []command.Command
	of       []int // the commands' items
}

func (p *proposals) add(item int, c command.Command) {
	p.commands, p.of = append(p.commands, c), append(p.of, item)
}

// carryOut proposes them, puts the outcomes to the items' errors and returns them by command.
func (h *Handler) carryOut(ctx context.Context, p *proposals) []error {
	outcomes := h.propose(ctx, p.commands)
	for j, err := range outcomes {
		p.errs[p.of[j]] = err
	}
	return outcomes
}

// propose submits all commands at once, so that they share quorum entries, and waits for each one's outcome.
func (h *Handler) propose(ctx context.Context, commands []command.Command) []error {
	type outcome struct {
		i   int
		err error
	}
	done := make(chan outcome, len(commands))
	for i, c := range commands {
		h.quorum.ProposeAsync(c, func(_ any, err error) { done <- outcome{i, err} })
	}
	errs := make([]error, len(commands))
	for i := range errs {
		errs[i] = errPending
	}
	for range commands {
		select {
		case o := <-done:
			errs[o.i] = o.err
		case <-ctx.Done():
			return errs // those without an outcome are pending: they may still be applied
		}
	}
	return errs
}

var errPending = refuse(kerr.RequestTimedOut, "the metadata quorum has not answered in time")

// endpoint is where clients that have come by w reach a broker: its listener of the same name, or, where it has none, the first
// that speaks the same. Nobody is sent from TLS to a plain port, nor the other way.
func endpoint(b *image.Broker, w way) (host string, port int32, ok bool) {
	for _, e := range b.Endpoints {
		if e.Listener == w.listener {
			return e.Host, e.Port, true
		}
	}
	for _, e := range b.Endpoints {
		if w.security == "" || e.Security == w.security {
			return e.Host, e.Port, true
		}
	}
	return "", 0, false
}

// rack is a nullable rack field.
func rack(b *image.Broker) *string {
	if b.Rack == "" {
		return nil
	}
	return &b.Rack
}

package console

import (
	"context"
	"errors"
	"time"
)

// ErrNotFound says that there is no such topic.
var ErrNotFound = errors.New("not found")

// ErrNoBucket says that the broker keeps nothing in a bucket.
var ErrNoBucket = errors.New("this broker has no bucket (bucket.url)")

// Backend answers what the port is asked; package broker implements it. Its
// methods may be called concurrently and return within their context.
type Backend interface {
	// Live returns what is wrong when the process should be killed and started anew.
	Live() error
	// Ready returns why clients should be sent elsewhere (starting, stopping, behind), nil when they should not.
	Ready() error
	Status() Status
	Brokers() []Broker
	Quorum() Quorum
	Cluster() Cluster
	Balance() Balance
	// SetBalance changes cluster.balance, and with throttle > 0 what bounds moves, in bytes a second. This and what follows returns
	// when it is applied; ErrNotFound, ErrRefused.
	SetBalance(ctx context.Context, mode string, throttle int64) error
	Drain(ctx context.Context, broker int32, on bool, throttle int64) error
	// SetThrottle bounds what is moved already; 0 takes the bound away.
	SetThrottle(ctx context.Context, throttle int64) error
	Transfer(ctx context.Context, topic string, partition, to int32) error
	// Storage lists one topic, or all of them for "", sorted by name; ErrNotFound.
	Storage(ctx context.Context, topic string) ([]TopicStorage, error)
	// Tier returns ErrNoBucket without a bucket.
	Tier(ctx context.Context) (Tier, error)
	// Sweep lists the bucket and deletes orphans older than grace (0: the configured one); ErrNoBucket.
	Sweep(ctx context.Context, how HowToSweep) (Sweep, error)
	// Scrub tells how far the checks of local segments are.
	Scrub() Scrub
	// ScrubNow checks the closed local segments of one topic, or of all for "", and tells what it found; ErrNotFound.
	ScrubNow(ctx context.Context, topic string) (Scrub, error)
}

// Status is /v1/status.
type Status struct {
	Version    string     `json:"version"`
	ClusterID  string     `json:"cluster_id"`
	NodeID     int32      `json:"node_id"`
	Started    time.Time  `json:"started"`
	Listeners  []Listener `json:"listeners"`
	DataDir    string     `json:"data_dir"`
	Bucket     string     `json:"bucket"` // without options; "" for none
	Topics     int        `json:"topics"`
	Partitions int        `json:"partitions"`
	// Offline are partitions whose storage failed.
	Offline []OfflinePartition `json:"offline"`
}

// Listener is where clients connect.
type Listener struct {
	Name       string `json:"name"`
	Address    string `json:"address"`
	Advertised string `json:"advertised"`
}

// OfflinePartition is a partition whose storage failed, and why.
type OfflinePartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Error     string `json:"error"`
}

// Quorum is /v1/quorum.
type Quorum struct {
	Leader   int32    `json:"leader"` // -1 without one
	Term     uint64   `json:"term"`
	Last     uint64   `json:"last_index"`
	Commit   uint64   `json:"commit_index"`
	Applied  uint64   `json:"applied_index"`
	Snapshot uint64   `json:"snapshot_index"`
	Members  []Member `json:"members"`
}

// Member is one of the quorum's.
type Member struct {
	ID      int32  `json:"id"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
}

// TopicStorage is one of /v1/storage.
type TopicStorage struct {
	Topic      string             `json:"topic"`
	TopicID    string             `json:"topic_id"`
	Partitions []PartitionStorage `json:"partitions"`
}

// PartitionStorage is where a partition's offsets are. Ranges are half-open.
// The hot and the cold range overlap where the disk still holds what the bucket has.
type PartitionStorage struct {
	Partition     int32  `json:"partition"`
	Leader        int32  `json:"leader"`
	LeaderEpoch   int32  `json:"leader_epoch"`
	LogStart      int64  `json:"log_start"`
	HighWatermark int64  `json:"high_watermark"`
	LogEnd        int64  `json:"log_end"`
	Hot           Extent `json:"hot"`
	Cold          Extent `json:"cold"`
	Upload        Upload `json:"upload"`
	Error         string `json:"error,omitempty"`      // storage is offline, or takes no records because it is damaged
	Unreadable    string `json:"unreadable,omitempty"` // objects in the bucket were found missing or damaged
}

// Extent is one tier's share: [Start, End) in Segments segments.
type Extent struct {
	Start    int64 `json:"start"`
	End      int64 `json:"end"`
	Bytes    int64 `json:"bytes"`
	Segments int   `json:"segments"`
	Pages    int   `json:"pages,omitempty"` // in the bucket, that name the oldest segments
}

// Upload is how far a partition's archive is behind.
type Upload struct {
	Enabled        bool       `json:"enabled"`
	Uploading      bool       `json:"uploading"`
	PendingBytes   int64      `json:"pending_bytes"`
	PendingSeconds float64    `json:"pending_seconds"` // age of the oldest closed segment that is not in the bucket
	LastError      string     `json:"last_error,omitempty"`
	LastErrorAt    *time.Time `json:"last_error_at,omitempty"`
}

// Tier is /v1/tier. Counts are since the start.
type Tier struct {
	Bucket         string        `json:"bucket"`
	Held           string        `json:"held,omitempty"` // why nothing is uploaded, deleted and swept: it is another bucket than the metadata speaks of
	Since          time.Time     `json:"since"`          // the start of the process: what is counted, is from there on
	Puts           int64         `json:"puts"`
	Gets           int64         `json:"gets"`
	Heads          int64         `json:"heads"`
	Lists          int64         `json:"lists"`
	Deletes        int64         `json:"deletes"`
	BytesUp        int64         `json:"bytes_up"`
	BytesDown      int64         `json:"bytes_down"`
	BacklogBytes   int64         `json:"backlog_bytes"`
	BacklogSeconds float64       `json:"backlog_seconds"`
	CacheBytes     int64         `json:"cache_bytes"`
	HotBytes       int64         `json:"hot_bytes"`
	ColdBytes      int64         `json:"cold_bytes"`
	Uploading      int           `json:"uploading"`
	Failing        []TierFailure `json:"failing"`
	Lost           []TierLoss    `json:"lost"`
}

// TierLoss is a partition with objects that were found missing or damaged, by a read or a sweep, until they are read again, a sweep
// has listed them, or nothing names them any more.
type TierLoss struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Objects   int       `json:"objects"` // at least
	Error     string    `json:"error"`   // the first one's
	At        time.Time `json:"at"`      // when that was last seen
}

// TierFailure is a partition whose last upload failed.
type TierFailure struct {
	Topic        string    `json:"topic"`
	Partition    int32     `json:"partition"`
	PendingBytes int64     `json:"pending_bytes"`
	Error        string    `json:"error"`
	At           time.Time `json:"at"`
}

// HowToSweep is what /v1/tier/sweep is asked.
type HowToSweep struct {
	Grace  time.Duration // 0: tier.orphan.grace.ms
	DryRun bool
	// Force: whoever asks knows that nothing is being uploaded, by no broker, so that a shorter grace harms nobody.
	Force bool
}

// Sweep is the answer of /v1/tier/sweep.
type Sweep struct {
	DryRun       bool     `json:"dry_run"`
	GraceSeconds float64  `json:"grace_seconds"`
	Objects      int      `json:"objects"` // that the listing had
	Orphans      int      `json:"orphans"` // of these, those that nothing names and that are older than the grace
	OrphanBytes  int64    `json:"orphan_bytes"`
	Young        int      `json:"young"` // those that nothing names and that are not older
	Keys         []string `json:"keys"`  // of the orphans; the first thousand

	Named   int        `json:"named"`   // objects that the metadata named when the listing began
	Missing int        `json:"missing"` // of these, those that it had not
	Lost    []TierLoss `json:"lost"`    // whose they are; the first thousand
}

// Scrub is GET /v1/scrub: the rounds, and everything checked since the process began; and the answer of POST: what
// was checked for it.
type Scrub struct {
	Running    bool            `json:"running"`              // a round is under way
	Began      *time.Time      `json:"began,omitempty"`      // this round, or the last
	Finished   *time.Time      `json:"finished,omitempty"`   // the last round that ended
	Segments   int64           `json:"segments"`             // checked
	Bytes      int64           `json:"bytes"`                // of these
	Suspicions int64           `json:"suspicions,omitempty"` // segments checked because a client read one place again and again
	Damaged    int64           `json:"damaged"`
	Latest     []DamagedRecord `json:"latest"` // of the damaged ones
}

// DamagedRecord is a local segment that was found damaged.
type DamagedRecord struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Segment   int64     `json:"segment"` // its first offset
	Found     time.Time `json:"found"`
	Archived  bool      `json:"archived"` // it was set aside, and the bucket is read in its place
	Error     string    `json:"error"`
}

// Failure is the body of every answer that is not 2xx.
type Failure struct {
	Error string `json:"error"`
}

package integration

import (
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/integration/harness"
)

// health is what a broker says of its cluster, in words and by the exit code of `qanat cluster health`.
func health(t *testing.T, b *harness.Broker) (c console.Cluster, text string, code int) {
	t.Helper()
	if err := b.Ask(within(t, 20*time.Second), "GET", "/v1/cluster", &c); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, 20*time.Second), qanat, "cluster", "health", "--admin-url", b.Admin)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return c, string(out), cmd.ProcessState.ExitCode()
}

// A cluster is called healthy, by the broker that has it or by another, while a partition takes no records because of damage; or the broker
// is called not ready for one.
func TestHealthTellsOfDamage(t *testing.T) {
	ctx := within(t, 4*time.Minute)
	c := newCluster(ctx, t, 3)
	createTopic(t, c.b[0], "data", 3, "segment.bytes=65536", "remote.storage.enable=false")
	newLoad(t, c.b[0], "data", 3, 1).send(1000)
	var all []console.TopicStorage
	if err := c.b[0].Ask(ctx, "GET", "/v1/storage?topic=data", &all); err != nil {
		t.Fatal(err)
	}
	s := all[0]
	victim := 0
	for s.Partitions[victim].Leader == 1 { // others lead some of the three
		victim++
	}
	broker := c.b[s.Partitions[victim].Leader-1]
	if err := broker.Stop(); err != nil {
		t.Fatal(err)
	}
	list := segments(t, broker, s.TopicID, victim)
	damage(t, os.Truncate(list[len(list)/2], 1000))
	restart(t, broker)
	for _, ask := range []*harness.Broker{broker, c.b[0]} {
		c.await(ctx, ask, "broker "+ask.Admin+" knows nothing of the damage", func(h console.Cluster) bool { return h.Damaged == 1 && h.Active == 3 && h.Leaderless == 0 })
		h, text, code := health(t, ask)
		if h.Healthy || code != 10 || !strings.Contains(text, "take") || !strings.Contains(text, "Damaged partition") || len(h.Worst) != 1 || h.Worst[0].Partition != int32(victim) {
			t.Errorf("exit code %d, %+v:\n%s", code, h, text)
		}
	}
	res, err := http.Get("http://" + broker.Admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); res.StatusCode != http.StatusOK {
		t.Errorf("/readyz says %s", res.Status)
	}
}

// A cluster is called healthy while its objects are gone, once a sweep or a reader has found that; tier status, topic storage or a sweep do
// not say so; or they still do when the objects are back.
func TestHealthTellsOfMissingObjects(t *testing.T) {
	b := newBroker(t, "log.retention.check.interval.ms=200", "tier.cache.bytes=0")
	dir := filepath.Join(t.TempDir(), "bucket")
	b.Bucket = "dir:" + dir
	restart(t, b)
	createTopic(t, b, "data", 2, "segment.bytes=65536", "local.retention.bytes=1")
	newLoad(t, b, "data", 2, 1).send(1000)
	archived(t, b)
	until(t, "local segments are not released", func() bool { return storageOf(t, b, "data").Partitions[0].Hot.Start > 0 })
	sweep := func() (s console.Sweep) {
		t.Helper()
		if err := b.Ask(within(t, 30*time.Second), "POST", "/v1/tier/sweep?dry_run=true", &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := sweep(); s.Missing != 0 || s.Named == 0 || s.Orphans != 0 || s.GraceSeconds != 86400 {
		t.Errorf("with all objects in their place a sweep says %+v", s)
	}
	if h, text, code := health(t, b); !h.Healthy || code != 0 {
		t.Fatalf("exit code %d, %+v:\n%s", code, h, text)
	}
	aside := filepath.Join(t.TempDir(), "aside")
	damage(t, os.Mkdir(aside, 0o700))
	objects := map[string]string{}
	damage(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".qanat-") {
			objects[path] = filepath.Join(aside, d.Name()+filepath.Base(filepath.Dir(path)))
			return os.Rename(path, objects[path])
		}
		return err
	}))
	says := func(what string, partitions int) {
		t.Helper()
		h, text, code := health(t, b)
		if h.Healthy || code != 10 || h.Unreadable != partitions || !strings.Contains(text, "Objects missing") {
			t.Errorf("%s: exit code %d, %+v:\n%s", what, code, h, text)
		}
		var tier console.Tier
		if err := b.Ask(within(t, 20*time.Second), "GET", "/v1/tier", &tier); err != nil || len(tier.Lost) != partitions || tier.Lost[0].Objects == 0 {
			t.Errorf("%s: the tier says %+v (%v)", what, tier.Lost, err)
		}
		var list []console.TopicStorage
		if err := b.Ask(within(t, 20*time.Second), "GET", "/v1/storage?topic=data", &list); err != nil || list[0].Partitions[0].Unreadable == "" {
			t.Errorf("%s: storage says %+v (%v)", what, list, err)
		}
	}
	reader := connect(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"data": {0: kgo.NewOffset().At(0)}}))
	go func() { _ = reader.PollFetches(t.Context()) }()
	until(t, "a reader finds nothing missing", func() bool { h, _, _ := health(t, b); return h.Unreadable == 1 })
	says("after a read", 1)
	reader.Close()
	if s := sweep(); s.Objects > 0 || s.Named == 0 || s.Missing < s.Named-2 || len(s.Lost) != 2 { // one may have been uploaded meanwhile
		t.Errorf("a sweep of an empty bucket says %+v", s)
	}
	says("after a sweep", 2)
	for from, to := range objects {
		damage(t, os.MkdirAll(filepath.Dir(from), 0o700))
		damage(t, os.Rename(to, from))
	}
	if s := sweep(); s.Missing != 0 || s.Objects == 0 {
		t.Errorf("a sweep of a bucket that is whole again says %+v", s)
	}
	if h, text, code := health(t, b); !h.Healthy || code != 0 {
		t.Errorf("when all are back: exit code %d, %+v:\n%s", code, h, text)
	}
}

package clientmetrics

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/batch"
)

// subscribed is an image with subscriptions, by name.
func subscribed(t *testing.T, list map[string]map[string]string) *image.Image {
	t.Helper()
	m, index := image.Empty(), uint64(0)
	for name, set := range list {
		index++
		next, _, _, err := image.Apply(m, index, command.Envelope{}, command.SetConfigs{Type: command.ClientMetrics, Name: name, Set: set})
		if err != nil {
			t.Fatal(err)
		}
		m = next
	}
	return m
}

func encoded(t *testing.T, names ...string) []byte {
	t.Helper()
	sm := &metricspb.ScopeMetrics{}
	for _, n := range names {
		sm.Metrics = append(sm.Metrics, &metricspb.Metric{Name: n})
	}
	data, err := proto.Marshal(&metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{ScopeMetrics: []*metricspb.ScopeMetrics{sm}}}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A client would be told of another client's subscriptions, or not of all of its own.
func TestWanted(t *testing.T) {
	r := New(time.Now, 1<<20, nil)
	if r.Subscribed() {
		t.Error("subscribed to nothing")
	}
	r.Follow(subscribed(t, map[string]map[string]string{
		"java":  {"metrics": "org.apache.kafka.producer.,org.apache.kafka.consumer.", "interval.ms": "60000", "match": "client_software_name=apache-kafka-java,client_software_version=4[.].*"},
		"app":   {"metrics": "org.apache.kafka.consumer.", "interval.ms": "1000", "match": "client_id=app-[0-9]+"},
		"all":   {"metrics": "*", "interval.ms": "100", "match": "client_source_address=10[.]0[.]0[.]1"},
		"empty": {"interval.ms": "100"},
	}))
	for _, c := range []struct {
		client   Client
		metrics  []string
		interval time.Duration
	}{
		{Client{ID: "x"}, nil, defaultInterval},
		{Client{ID: "x", Software: "apache-kafka-java", SoftwareVersion: "4.1.0"}, []string{"org.apache.kafka.consumer.", "org.apache.kafka.producer."}, time.Minute},
		{Client{ID: "x", Software: "apache-kafka-java", SoftwareVersion: "3.9.0"}, nil, defaultInterval},
		{Client{ID: "app-12"}, []string{"org.apache.kafka.consumer."}, time.Second},
		{Client{ID: "app-12x"}, nil, defaultInterval},
		{Client{ID: "app-1", Software: "apache-kafka-java", SoftwareVersion: "4.0"}, []string{"org.apache.kafka.consumer.", "org.apache.kafka.producer."}, time.Second},
		{Client{ID: "app-1", Address: "10.0.0.1"}, []string{""}, 100 * time.Millisecond},
	} {
		w, err := r.Ask(c.client)
		if err != nil || !slices.Equal(w.Metrics, c.metrics) || w.Interval != c.interval || w.Instance == uuid.Nil {
			t.Errorf("%+v: %+v, %v", c.client, w, err)
		}
	}
}

// A client would get in metrics that it may not send, or be kept from sending those that it may.
func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		r := New(time.Now, 10_000, func(_ Client, m *metricspb.MetricsData) {
			for _, x := range m.ResourceMetrics[0].ScopeMetrics[0].Metrics {
				got = append(got, x.Name)
			}
		})
		one := func(ms int) map[string]map[string]string {
			return map[string]map[string]string{"s": {"metrics": "*", "interval.ms": fmt.Sprint(ms)}}
		}
		r.Follow(subscribed(t, one(1000)))
		c := Client{ID: "c"}
		w, err := r.Ask(c)
		if err != nil {
			t.Fatal(err)
		}
		c.Instance = w.Instance
		push := func(subscription int32, last bool, codec batch.Codec, data []byte, want error) {
			t.Helper()
			if err := r.Push(c, subscription, last, codec, data); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		push(w.Subscription+1, false, batch.None, encoded(t, "no"), ErrSubscription)
		push(w.Subscription, false, 9, encoded(t, "no"), ErrCompression)
		push(w.Subscription, false, batch.None, make([]byte, 20_000), ErrTooLarge)
		push(w.Subscription, false, batch.None, encoded(t, "a", "b"), nil)
		push(w.Subscription, false, batch.None, encoded(t, "no"), ErrEarly)
		time.Sleep(time.Second)
		push(w.Subscription, false, batch.Gzip, gzipped(t, encoded(t, "c")), nil)
		time.Sleep(time.Second)
		push(w.Subscription, false, batch.Gzip, gzipped(t, make([]byte, 1<<20)), ErrTooLarge)
		time.Sleep(time.Second)
		push(w.Subscription, false, batch.None, []byte("no OTLP at all"), ErrMalformed)
		time.Sleep(time.Second)

		r.Follow(subscribed(t, one(2000)))
		push(w.Subscription, false, batch.None, encoded(t, "no"), ErrSubscription)
		w, err = r.Ask(c) // which the refusal allows
		if err != nil || w.Interval != 2*time.Second {
			t.Fatalf("%+v, %v", w, err)
		}
		if _, err := r.Ask(c); !errors.Is(err, ErrEarly) {
			t.Errorf("asked again at once: %v", err)
		}
		time.Sleep(2 * time.Second)
		push(w.Subscription, true, batch.None, encoded(t, "d"), nil)
		push(w.Subscription, true, batch.None, encoded(t, "no"), ErrTerminated)
		if !slices.Equal(got, []string{"a", "b", "c", "d"}) {
			t.Errorf("%v were passed on", got)
		}
		for _, id := range []uuid.UUID{uuid.Nil, uuid.Max} {
			if err := r.Push(Client{Instance: id}, 1, false, batch.None, nil); !errors.Is(err, ErrInstance) {
				t.Errorf("%s: %v", id, err)
			}
		}
	})
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Clients that make up instances would be remembered without bound.
func TestInstancesAreBounded(t *testing.T) {
	r := New(time.Now, 1<<20, nil)
	for range maxInstances + 10 {
		if _, err := r.Ask(Client{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.instances.Len(); n != maxInstances {
		t.Errorf("%d are remembered", n)
	}
}

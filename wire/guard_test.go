package wire

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// everyVersion calls f for every served API and version.
func everyVersion(f func(a API, version int16)) {
	for _, a := range table {
		for v := a.Min; v <= a.Max; v++ {
			f(a, v)
		}
	}
}

// For every request and version that kmsg knows, served or not, the guard walks a random message to exactly its end, and
// of a message that is cut short it refuses what kmsg refuses, no more and no less.
func TestGuardAgreesWithDecoder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for key := range schemas {
		top := kmsg.RequestForKey(key).MaxVersion()
		for version := int16(0); version <= top; version++ {
			for range 8 {
				req := kmsg.RequestForKey(key)
				req.SetVersion(version)
				fill(r, req)
				if p := programOf(key, version); p.flexible != req.IsFlexible() {
					t.Fatalf("key %d v%d: flexible %v", key, version, p.flexible)
				}
				body := req.AppendTo(nil)
				if used, err := programOf(key, version).measure(body); used != len(body) || err != nil {
					t.Fatalf("key %d v%d: walked %d of %d bytes: %v", key, version, used, len(body), err)
				}
				for range 4 {
					cut := body[:r.IntN(len(body)+1)]
					again := kmsg.RequestForKey(key)
					again.SetVersion(version)
					decodes, guarded := again.ReadFrom(cut), programOf(key, version).check(cut)
					if (decodes == nil) != (guarded == nil) {
						t.Fatalf("key %d v%d cut to %d of %d bytes: decoder says %v, guard %v", key, version, len(cut), len(body), decodes, guarded)
					}
				}
			}
		}
	}
}

// The two requests that brought kmsg down are refused before kmsg sees them: no program that refuses allocates more than
// its error, and the walk stops at the lie.
func TestGuardRefusesLies(t *testing.T) {
	manyTags := lieTags()
	longArray := lieArray(50 << 20)
	for name, in := range map[string]struct {
		key, version int16
		body         []byte
	}{
		"2^32-1 tags in 13 bytes":         {0, 11, manyTags},
		"an array of 50 Mi empty structs": {0, 11, longArray},
		"the same before flexible":        {0, 3, append([]byte{0xff, 0xff, 0, 1, 0, 0, 0, 0}, 0x02, 0xff, 0xff, 0xff)},
		"as many topics as bytes":         {3, 1, append([]byte{0, 0, 0, 40}, make([]byte, 40)...)},
		"more than maxElements":           {3, 1, manyTopics(maxElements + 1)},
	} {
		h := Header{Key: in.key, Version: in.version, program: programOf(in.key, in.version)}
		if _, err := h.Decode(in.body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if n := testing.AllocsPerRun(3, func() { _, _ = h.Decode(in.body) }); n > 12 {
			t.Errorf("%s: %v allocations to refuse it", name, n)
		}
	}
}

// lieTags is a Produce v11 body that claims 2^32-1 tags: null transactional id, acks, timeout, no topics, tags.
func lieTags() []byte {
	return []byte{0, 0, 1, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}
}

// lieArray is a Produce v11 body of n bytes that claims as many topics.
func lieArray(n int) []byte {
	body := append([]byte{0, 0, 1, 0, 0, 0, 0}, 0x80|byte(n), 0x80|byte(n>>7), 0x80|byte(n>>14), byte(n>>21))
	return append(body, make([]byte, n)...)
}

// manyTopics is a Metadata v1 body of n topics with empty names.
func manyTopics(n int) []byte {
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, make([]byte, 2*n)...)
}

// Walking a request takes no memory.
func TestGuardAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	everyVersion(func(a API, version int16) {
		req := kmsg.RequestForKey(a.Key)
		req.SetVersion(version)
		fill(r, req)
		body := req.AppendTo(nil)
		p := programOf(a.Key, version)
		if n := testing.AllocsPerRun(5, func() { _ = p.check(body) }); n != 0 {
			t.Errorf("%s v%d: %v allocations", a.Name, version, n)
		}
	})
}

// The table is in order, and of every version in it kmsg can read the request and write the answer.
func TestTable(t *testing.T) {
	last := int16(-1)
	for _, a := range Table() {
		if a.Key <= last {
			t.Errorf("%s is out of order", a.Name)
		}
		last = a.Key
		req := kmsg.RequestForKey(a.Key)
		if req == nil || req.MaxVersion() < a.Max || kmsg.NameForKey(a.Key) != a.Name && a.Key != 22 && a.Key != 45 { // which kmsg names in its own way
			t.Errorf("%+v: kmsg has %s up to %v", a, kmsg.NameForKey(a.Key), req)
		}
		if got, ok := Lookup(a.Key); !ok || got != a {
			t.Errorf("Lookup(%d) = %+v", a.Key, got)
		}
	}
	if _, ok := Lookup(4); ok {
		t.Error("LeaderAndIsr is served")
	}
}

// Whatever bytes follow a header of a served API and version, decoding them either fails or was foreseen by the guard,
// and what is decoded has no more elements than bytes.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	everyVersion(func(a API, version int16) {
		req := kmsg.RequestForKey(a.Key)
		req.SetVersion(version)
		fill(r, req)
		f.Add(a.Key, version, req.AppendTo(nil))
	})
	f.Add(int16(0), int16(11), lieTags())
	f.Add(int16(0), int16(11), lieArray(4096))
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		a := lookup(key)
		if a == nil || version < a.Min || version > a.Max {
			return
		}
		h := Header{Key: key, Version: version, program: programOf(key, version)}
		req, err := h.Decode(body)
		if guarded := h.program.check(body); (err == nil) != (guarded == nil) {
			t.Fatalf("decoder says %v, guard %v", err, guarded)
		}
		if err == nil {
			_ = req.AppendTo(nil) // must not panic
			Recycle(req)
		}
	})
}

// Whatever the bytes of a frame are, reading its header never panics and its body lies in the frame.
func FuzzParseHeader(f *testing.F) {
	everyVersion(func(a API, version int16) {
		f.Add(frameOf(a.Key, version, 7, "client", nil))
	})
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := ParseHeader(frame)
		if err != nil || h.TooNew {
			return
		}
		if len(body)+len(h.ClientID)+10 > len(frame) {
			t.Fatalf("%d bytes of body, %d of client id in a frame of %d", len(body), len(h.ClientID), len(frame))
		}
		_, _ = h.Decode(body)
	})
}

// frameOf is a whole frame without its size.
func frameOf(key, version int16, correlation int32, client string, body []byte) []byte {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	formatted := kmsg.NewRequestFormatter(kmsg.FormatterClientID(client)).AppendRequest(nil, req, correlation)
	if body != nil {
		formatted = append(formatted, body...)
	}
	return formatted[4:]
}

// A header is read as kmsg's formatter writes it, for every API and version.
func TestParseHeader(t *testing.T) {
	everyVersion(func(a API, version int16) {
		h, body, err := ParseHeader(frameOf(a.Key, version, 42, "me", nil))
		if err != nil || h.Key != a.Key || h.Version != version || h.CorrelationID != 42 || string(h.ClientID) != "me" {
			t.Fatalf("%s v%d: %+v, %v", a.Name, version, h, err)
		}
		if req, err := h.Decode(body); err != nil || req.GetVersion() != version {
			t.Fatalf("%s v%d: %v", a.Name, version, err)
		}
	})
}

// A key or version that is not in the table is refused, but for an ApiVersions request newer than ours, which is how a
// client finds out.
func TestParseHeaderRefuses(t *testing.T) {
	frame := func(key, version int16) []byte {
		return []byte{byte(key >> 8), byte(key), byte(version >> 8), byte(version), 0, 0, 0, 9, 0xff, 0xff, 0}
	}
	for _, c := range []struct {
		key, version int16
		want         error
	}{{4, 0, ErrUnknownAPI}, {-1, 0, ErrUnknownAPI}, {20000, 0, ErrUnknownAPI}, {1, 3, ErrUnsupportedVersion},
		{1, 19, ErrUnsupportedVersion}, {0, 14, ErrUnsupportedVersion}, {0, -1, ErrUnsupportedVersion}, {0, 0, nil}, {0, 13, nil}} {
		if _, _, err := ParseHeader(frame(c.key, c.version)); !errors.Is(err, c.want) {
			t.Errorf("key %d v%d: %v, want %v", c.key, c.version, err, c.want)
		}
	}
	h, _, err := ParseHeader(frame(18, 77))
	if err != nil || !h.TooNew || h.CorrelationID != 9 {
		t.Fatalf("%+v, %v", h, err)
	}
	if req, err := h.Decode(nil); req != nil || err != nil {
		t.Errorf("a request that is too new decodes to %v, %v", req, err)
	}
	if got := fmt.Sprintf("%x", AppendResponseHeader(nil, 18, true, 9)); got != "00000009" {
		t.Errorf("ApiVersions has response header %s", got)
	}
	if got := fmt.Sprintf("%x", AppendResponseHeader(nil, 3, true, 9)); got != "0000000900" {
		t.Errorf("a flexible response has header %s", got)
	}
}

// A Produce request that was used before decodes as a new one does, with no trace of the former.
func TestRecycleForgets(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		version := int16(r.IntN(14))
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(version)
		fill(r, req)
		body := req.AppendTo(nil)
		h := Header{Key: 0, Version: version, program: programOf(0, version)}
		got, err := h.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		if again := got.AppendTo(nil); version >= 9 && len(again) != len(body) || version < 9 && string(again) != string(body) {
			t.Fatalf("v%d: decoded and encoded again: %x, want %x", version, again, body)
		}
		Recycle(got)
	}
}

// A request of a stranger's size is not kept, or every small one that is decoded into it would cost what it did.
func TestLargeRequestsAreNotKept(t *testing.T) {
	for room, kept := range map[int]bool{1: true, maxRecycled - 1: true, maxRecycled: false, 1 << 20: false} {
		req := kmsg.NewPtrProduceRequest()
		req.Topics = []kmsg.ProduceRequestTopic{{Partitions: make([]kmsg.ProduceRequestTopicPartition, room)}}
		if tidy(req) != kept {
			t.Errorf("with room for %d partitions, kept: %v", room, !kept)
		}
	}
}

func BenchmarkDecodeProduce(b *testing.B) {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(12)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "orders"
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = make([]byte, 1100)
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)[4:]
	b.ReportAllocs()
	for b.Loop() {
		h, body, err := ParseHeader(frame)
		if err != nil {
			b.Fatal(err)
		}
		r, err := h.Decode(body)
		if err != nil {
			b.Fatal(err)
		}
		Recycle(r)
	}
}

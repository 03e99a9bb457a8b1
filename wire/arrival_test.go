package wire

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/wire/batch"
)

// arriveBatch is a batch, perhaps one that lies, or is damaged.
func arriveBatch(t *rapid.T) []byte {
	var b batch.Builder
	base := rapid.Int64Range(-5, 1<<40).Draw(t, "base")
	for range rapid.IntRange(1, 40).Draw(t, "records") {
		var key []byte
		if rapid.Bool().Draw(t, "key") {
			key = []byte("key")
		}
		b.Add(base+rapid.Int64Range(-3, 3).Draw(t, "later"), key, make([]byte, rapid.IntRange(0, 9_000).Draw(t, "value")))
	}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0: // damaged anywhere
		v[rapid.IntRange(0, len(v)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
	case 1: // says that its records' times do not count
		v.SetLogAppendTime(base)
	case 2:
		return v[:rapid.IntRange(0, len(v)).Draw(t, "cut")]
	case 3:
		return append(v, v...)
	}
	return v
}

func arriveRequest(t *rapid.T) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(int16(rapid.IntRange(0, 13).Draw(t, "version")))
	if rapid.Bool().Draw(t, "transactional") {
		req.TransactionID = kmsg.StringPtr("id")
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "topics") {
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic, topic.TopicID[0] = fmt.Sprint("t", i), byte(i+1)
		for j := range rapid.IntRange(0, 3).Draw(t, "partitions") {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition = int32(j)
			if rapid.IntRange(0, 5).Draw(t, "empty") > 0 {
				p.Records = arriveBatch(t)
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		req.Topics = append(req.Topics, topic)
	}
	return req
}

// What is found out about a batch while it arrives, in whatever pieces, is what is found in it when it is there.
func TestArrivalFindsWhatIsThere(t *testing.T) {
	all, seenOnes := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		req := arriveRequest(t)
		frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("c")).AppendRequest(nil, req, 7)[4:]
		var a Arrival
		a.Begin(frame)
		for n := 0; n < len(frame); {
			n = min(len(frame), n+rapid.IntRange(0, 50_000).Draw(t, "piece")+rapid.IntRange(0, 1).Draw(t, "one"))
			a.Arrived(n)
		}
		h, body, err := ParseHeader(frame)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := h.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range decoded.(*kmsg.ProduceRequest).Topics {
			for _, p := range topic.Partitions {
				seen := a.Of(p.Records)
				if len(p.Records) >= seenBatch && h.Version >= produceBatches {
					all++
					if seen == nil {
						t.Fatalf("v%d: nothing is known of %d bytes of records", h.Version, len(p.Records))
					}
				}
				if seen != nil {
					seenOnes++
				}
				sameVerdict(t, p.Records, seen)
			}
		}
	})
	if seenOnes == 0 || seenOnes != all {
		t.Errorf("of %d batches that are worth it %d were looked at", all, seenOnes)
	}
}

func sameVerdict(t *rapid.T, records []byte, seen *batch.Checked) {
	v, _, err := batch.Next(records)
	if err != nil {
		return
	}
	if got, want := fmt.Sprint(v.CheckCRCSeen(seen)), fmt.Sprint(v.CheckCRC()); got != want {
		t.Fatalf("checksum: %s, in its bytes: %s", got, want)
	}
	base := v.BaseTimestamp()
	for _, limits := range []batch.Limits{
		{}, {RequireKeys: true}, {LogAppendTime: true}, {AllowControl: true},
		{Earliest: base - 2, Latest: base + 2}, {Earliest: base - 10, Latest: base + 10, RequireKeys: true}, {Earliest: 1, Latest: 1 << 50},
	} {
		got, gotErr := batch.ValidateSeen(v, limits, seen)
		want, wantErr := batch.Validate(v, limits)
		if got != want || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Fatalf("%+v: %+v, %v, in its bytes: %+v, %v", limits, got, gotErr, want, wantErr)
		}
	}
}

// A frame that is no Produce request, or a damaged one, is followed no further than it makes sense, whatever its pieces.
func FuzzArrival(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame []byte, piece uint16) {
		var a Arrival
		a.Begin(frame)
		for n := 0; n < len(frame); {
			n = min(len(frame), n+64+int(piece))
			a.Arrived(n)
		}
		for _, c := range a.checked {
			if c.Of(nil) {
				t.Error("it is about nothing")
			}
		}
		if len(a.checked) > len(frame)/seenBatch {
			t.Errorf("%d batches of %d bytes and more in a frame of %d", len(a.checked), seenBatch, len(frame))
		}
	})
}

package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Every advertised version of every API is decoded, answered exactly once, and answered in a form that the schema decodes
// back to the same bytes: with empty requests, with requests about what exists, and with nonsense.
func TestEveryVersionIsAnswered(t *testing.T) {
	s := newHarness(t)
	s.atNewestLevel()
	id := s.topic("t", 3)
	for i := range int32(3) {
		s.log(id, i).append(10)
		s.log(id, i).local = 5 // ListOffsets takes the long way
		s.log(id, i).loaded = true
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Groups.Run(ctx) }()
	for s.Groups.Serving() != nil {
		time.Sleep(time.Millisecond) // the coordinator loads; there is no event for it
	}
	for _, a := range wire.Table() {
		if handlers[a.Key].by == nil {
			t.Errorf("%s is advertised and has no handler", a.Name)
			continue
		}
		for version := a.Min; version <= a.Max; version++ {
			for seed := range uint64(25) {
				req := kmsg.RequestForKey(a.Key)
				req.SetVersion(version)
				if seed > 0 {
					(&filler{rng: rand.New(rand.NewPCG(seed, uint64(a.Key))), id: id}).fill(reflect.ValueOf(req).Elem(), 0)
					req.SetVersion(version)
				}
				sweep(t, s, req, fmt.Sprintf("%s v%d seed %d", a.Name, version, seed))
			}
		}
	}
	s.leave()
	cancel()
	if err := <-stopped; err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	s.nothingHeld()
}

// Every handler is advertised.
func TestEveryHandlerIsAdvertised(t *testing.T) {
	for key := range handlers {
		if _, ok := wire.Lookup(key); !ok {
			t.Errorf("key %d has a handler and is not in the table", key)
		}
	}
}

// sweep sends one request through the real decoder and checks its answer.
func sweep(t *testing.T, s *harness, req kmsg.Request, what string) {
	t.Helper()
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("c")).AppendRequest(nil, req, 7)[4:]
	header, body, err := wire.ParseHeader(frame)
	if err != nil {
		t.Fatalf("%s: header: %v", what, err)
	}
	decoded, err := header.Decode(body)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	c := s.start(decoded, req.GetVersion())
	var r wire.Reply
	select {
	case r = <-c.replies:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: no answer", what)
	}
	switch {
	case r.Message != nil:
		if r.Message.GetVersion() != req.GetVersion() {
			t.Errorf("%s: answered in v%d", what, r.Message.GetVersion())
		}
		sameAgain(t, what, req, r.Message.AppendTo(nil))
	case r.Fetch != nil:
		raw, cuts := r.Fetch.AppendTo(nil, nil)
		sameAgain(t, what, req, splice(raw, cuts))
		r.Fetch.Release()
	case r.None:
		if p, ok := req.(*kmsg.ProduceRequest); !ok || p.Acks != 0 {
			t.Errorf("%s: not answered", what)
		}
	case r.Close != nil:
		if p, ok := req.(*kmsg.ProduceRequest); !ok || p.Acks != 0 {
			t.Errorf("%s: connection closed: %v", what, r.Close)
		}
	default:
		t.Errorf("%s: an empty reply", what)
	}
	select {
	case <-c.replies:
		t.Errorf("%s: answered twice", what)
	default:
	}
}

// sameAgain decodes a response by the schema and encodes it again.
func sameAgain(t *testing.T, what string, req kmsg.Request, raw []byte) {
	t.Helper()
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(raw); err != nil {
		t.Errorf("%s: answer: %v", what, err)
		return
	}
	if again := resp.AppendTo(nil); !bytes.Equal(again, raw) {
		t.Errorf("%s: answer of %d bytes decodes to one of %d", what, len(raw), len(again))
	}
}

// splice puts the runs into an encoded Fetch response.
func splice(raw []byte, cuts []wire.Cut) []byte {
	var out []byte
	at := 0
	for _, c := range cuts {
		out = append(append(out, raw[at:c.At]...), c.Run.Bytes...)
		at = c.At
	}
	return append(out, raw[at:]...)
}

// filler fills requests with what exists, what nearly exists, and nonsense.
type filler struct {
	rng *rand.Rand
	id  kafka.TopicID
}

func (f *filler) fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			switch {
			case name == "Version" || name == "UnknownTags" || !v.Field(i).CanSet():
			case name == "MaxWaitMillis" || name == "TimeoutMillis" || name == "RebalanceTimeoutMillis" || name == "SessionTimeoutMillis":
				v.Field(i).SetInt(int64(f.rng.IntN(20))) // no test waits for nonsense
			case name == "ReplicaID" || name == "ID":
				v.Field(i).SetInt(-1)
			default:
				f.fill(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		f.fillSlice(v, depth)
	case reflect.Array:
		if id := f.id; f.rng.IntN(3) > 0 {
			reflect.Copy(v, reflect.ValueOf(id))
		}
	case reflect.Pointer:
		if f.rng.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), depth+1)
		}
	case reflect.String:
		words := []string{"t", "t", "u", "", "..", "retention.ms", "cleanup.policy", "delete", "1", "__cluster_metadata", "range"}
		v.SetString(words[f.rng.IntN(len(words))])
	case reflect.Bool:
		v.SetBool(f.rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n := []int64{-1, 0, 0, 1, 1, 2, 3, 4, 32, 100, -6, -128}
		v.SetInt(n[f.rng.IntN(len(n))])
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(f.rng.IntN(4)))
	}
}

func (f *filler) fillSlice(v reflect.Value, depth int) {
	n := f.rng.IntN(4)
	if n == 0 {
		return
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		b := make([]byte, 61)
		binary.BigEndian.PutUint32(b[8:], 49)
		b[16] = 2
		v.SetBytes(b)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		if e := v.Index(i); e.Kind() == reflect.Struct && e.Addr().MethodByName("Default").IsValid() {
			e.Addr().MethodByName("Default").Call(nil)
		}
		f.fill(v.Index(i), depth+1)
	}
}

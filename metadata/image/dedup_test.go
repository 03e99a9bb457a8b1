package image

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// An entry that is committed twice is applied once, and the second copy is answered as the first was; also by a node that
// restored a snapshot in between. A new session of the broker begins anew.
func TestRetriesApplyOnce(t *testing.T) {
	for _, restored := range []bool{false, true} {
		w := newWorld(t)
		w.do(topic(9, "z", 1))
		entry := []command.Command{
			topic(1, "a", 1),
			topic(2, "a", 1), // refused
			command.AllocateProducerIDs{Count: 7},
			command.RegisterBroker{ID: 3},
			command.TrimLog{Partition: part(9, 0), Start: 4},
			command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: part(8, 0)}}},
			command.DeleteTopic{ID: id(1)},
		}
		type answer struct {
			result any
			err    error // the decision
		}
		run := func(session, first uint64) (answers []answer) {
			w.index++
			tx := Begin(w.m)
			for i, c := range entry {
				r, err := tx.Apply(w.index, command.Envelope{Broker: 3, Session: session, Request: first + uint64(i)}, c)
				a := answer{result: r}
				if err != nil {
					a.err = errors.Unwrap(err)
				}
				answers = append(answers, a)
			}
			w.m, _ = tx.Commit()
			return answers
		}
		first := run(77, 1)
		after := w.m
		if restored {
			m, err := Decode(bytes.NewReader(encoded(t, w.m)))
			if err != nil {
				t.Fatal(err)
			}
			w.m = m
		}
		if again := run(77, 1); !reflect.DeepEqual(again, first) {
			t.Errorf("restored %v: again %+v\nfirst %+v", restored, again, first)
		}
		if w.m.NextProducerID() != 7 || string(encoded(t, at(w.m, 0))) != string(encoded(t, at(after, 0))) {
			t.Errorf("restored %v: the copy changed something", restored)
		}
		run(77, 8)
		if w.m.NextProducerID() != 14 {
			t.Error("the next entry was taken for a copy")
		}
		if _, _, err := w.apply(command.Envelope{Broker: 3, Session: 77, Request: 3}, entry[2]); !errors.Is(err, ErrForgotten) {
			t.Errorf("a request of an older entry: %v", err)
		}
		run(78, 1)
		if w.m.NextProducerID() != 21 {
			t.Error("the new session was taken for the old one")
		}
	}
}

// What is remembered of a broker does not grow with the number of its requests.
func TestMemoryOfRequestsIsBounded(t *testing.T) {
	w := newWorld(t)
	for i := range uint64(1000) {
		w.index++
		tx := Begin(w.m)
		for n := range uint64(5) {
			env := command.Envelope{Broker: 1, Session: 1, Request: i*5 + n + 1}
			if _, err := tx.Apply(w.index, env, command.AllocateProducerIDs{Count: 1}); err != nil {
				t.Fatal(err)
			}
		}
		w.m, _ = tx.Commit()
	}
	k := brokerKey(1)
	s, _ := w.m.sessions.Get(k[:])
	if len(s.outcomes) != 5 || s.first != 4996 || s.last != 5000 || w.m.sessions.Len() != 1 {
		t.Errorf("%d outcomes, [%d, %d], %d sessions", len(s.outcomes), s.first, s.last, w.m.sessions.Len())
	}
	if _, kept := s.outcomes[0].result(); kept != nil || s.outcomes[0].number != int64(kafka.ProducerID(4995)) {
		t.Errorf("%+v", s.outcomes[0])
	}
}

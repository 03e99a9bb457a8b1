package assign

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Runs is the durable form of a topic's partitions in a Set: first, length, first, length, …
type Runs struct {
	Topic kafka.TopicID `cbor:"1,keyasint"`
	Runs  []int32       `cbor:"2,keyasint"`
}

// ByTopic is the indexes of each topic's partitions.
func ByTopic(s Set) iter.Seq2[kafka.TopicID, []int32] {
	return func(yield func(kafka.TopicID, []int32) bool) {
		for len(s) > 0 {
			id := s[0].Topic
			var indexes []int32
			for len(s) > 0 && s[0].Topic == id {
				indexes, s = append(indexes, s[0].Index), s[1:]
			}
			if !yield(id, indexes) {
				return
			}
		}
	}
}

// ToRuns is the set's durable form; never nil.
func ToRuns(s Set) []Runs {
	out := []Runs{}
	for id, indexes := range ByTopic(s) {
		var rs []int32
		for _, p := range indexes {
			if n := len(rs); n > 0 && rs[n-2]+rs[n-1] == p {
				rs[n-1]++
			} else {
				rs = append(rs, p, 1)
			}
		}
		out = append(out, Runs{Topic: id, Runs: rs})
	}
	return out
}

// mostRun bounds what one run may be read as: no topic has more partitions.
const mostRun = 1 << 20

// FromRuns reads what ToRuns wrote.
func FromRuns(rs []Runs) (Set, error) {
	var ps []kafka.Partition
	for _, r := range rs {
		if len(r.Runs)%2 != 0 {
			return nil, errors.New("a run of partitions without a length")
		}
		for i := 0; i < len(r.Runs); i += 2 {
			first, n := r.Runs[i], r.Runs[i+1]
			if first < 0 || n < 1 || n > mostRun || first > mostRun || len(ps) > 8*mostRun {
				return nil, fmt.Errorf("partitions from %d, %d of them", first, n)
			}
			for k := range n {
				ps = append(ps, kafka.Partition{Topic: r.Topic, Index: first + k})
			}
		}
	}
	n := len(ps)
	if s := SetOf(ps); len(s) == n {
		return s, nil
	}
	return nil, errors.New("a partition twice")
}

// SortTopics sorts ids, in place, and leaves out repeats.
func SortTopics(ids []kafka.TopicID) []kafka.TopicID {
	slices.SortFunc(ids, func(a, b kafka.TopicID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// Hash is of topics, in any order, and how many partitions each has: what of the topics an assignment depends on. It may reorder ids.
func Hash(ids []kafka.TopicID, partitions func(kafka.TopicID) int32) uint64 {
	if len(ids) == 0 {
		return 0
	}
	h := fnv.New64a()
	var n [4]byte
	for _, id := range SortTopics(ids) {
		h.Write(id[:])
		binary.BigEndian.PutUint32(n[:], uint32(partitions(id)))
		h.Write(n[:])
	}
	return h.Sum64()
}

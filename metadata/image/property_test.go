package image

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// step is one Raft entry: commands under one envelope.
type step struct {
	env      command.Envelope
	commands []command.Command
}

// The generators draw from few names, so that commands meet.
var (
	genTopic  = rapid.Map(rapid.IntRange(0, 3), func(n int) kafka.TopicID { return id(byte(n + 1)) })
	genName   = rapid.SampledFrom([]string{"a", "ab", "b", "b\xff"})
	genGroup  = rapid.SampledFrom([]string{"", "g", "g\x00", "h", "share"})
	genBroker = rapid.Map(rapid.IntRange(-1, 3), func(n int) kafka.BrokerID { return kafka.BrokerID(n) })
	genEpoch  = rapid.Map(rapid.IntRange(0, 2), func(n int) kafka.LeaderEpoch { return kafka.LeaderEpoch(n) })
	genOffset = rapid.Map(rapid.IntRange(0, 6), func(n int) kafka.Offset { return kafka.Offset(n * 100) })
	genPart   = rapid.Custom(func(t *rapid.T) kafka.Partition {
		return kafka.Partition{Topic: genTopic.Draw(t, "topic"), Index: rapid.Int32Range(0, 3).Draw(t, "index")}
	})
	genVersion  = rapid.Map(rapid.IntRange(0, 2), func(n int) kafka.PartitionEpoch { return kafka.PartitionEpoch(n) })
	genELR      = rapid.SliceOfN(genBroker, 0, 2)
	genReplicas = rapid.SliceOfN(genBroker, 1, 3)
	genMap      = rapid.MapOfN(rapid.SampledFrom([]string{"x", "y", minISR}), rapid.SampledFrom([]string{"", "1"}), 0, 3)
	genKeys     = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y", minISR}), 0, 2)
)

var genTxn = rapid.SampledFrom([]string{"t", "u"})

var genCommand = rapid.Custom(func(t *rapid.T) command.Command {
	switch rapid.IntRange(0, 46).Draw(t, "kind") {
	case 0, 1, 2:
		return command.CreateTopic{ID: genTopic.Draw(t, "id"), Name: genName.Draw(t, "name"), Partitions: rapid.SliceOfN(genReplicas, 1, 4).Draw(t, "replicas"), Configs: genMap.Draw(t, "configs")}
	case 3:
		return command.DeleteTopic{ID: genTopic.Draw(t, "id")}
	case 4:
		return command.AddPartitions{ID: genTopic.Draw(t, "id"), From: rapid.Int32Range(1, 4).Draw(t, "from"), Replicas: rapid.SliceOfN(genReplicas, 1, 2).Draw(t, "replicas")}
	case 5, 6:
		return command.SetConfigs{Type: rapid.SampledFrom([]command.ResourceType{command.Topic, command.Broker, command.Group}).Draw(t, "type"), Name: genName.Draw(t, "name"), Set: genMap.Draw(t, "set"), Delete: genKeys.Draw(t, "delete")}
	case 7, 8:
		return command.ElectLeaders{Elections: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) command.Election {
			isr := genReplicas.Draw(t, "isr")
			return command.Election{Partition: genPart.Draw(t, "p"), Leader: isr[0], ISR: isr, Expected: genVersion.Draw(t, "expected"), ELR: genELR.Draw(t, "elr"), Unclean: rapid.Bool().Draw(t, "unclean")}
		}), 1, 3).Draw(t, "elections")}
	case 9, 10, 11:
		base := genOffset.Draw(t, "base")
		return command.CommitSegment{Partition: genPart.Draw(t, "p"), Entry: manifest.Entry{Base: base, Next: base + genOffset.Draw(t, "length"), Epoch: genEpoch.Draw(t, "epoch"), Size: 10, DataSize: 9, MaxTimestamp: int64(genOffset.Draw(t, "time"))}}
	case 12:
		return command.TrimLog{Partition: genPart.Draw(t, "p"), Epoch: genEpoch.Draw(t, "epoch"), Start: genOffset.Draw(t, "start")}
	case 13:
		if rapid.Bool().Draw(t, "spill") {
			var m manifest.Manifest // what CommitSegment may have made
			for i := range rapid.IntRange(2, 3).Draw(t, "entries") {
				m, _ = m.Append(manifest.Entry{Base: kafka.Offset(i * 100), Next: kafka.Offset(i*100 + 100), Size: 10, DataSize: 9}, 0)
			}
			page, _ := m.NewPage(kafka.Partition{}, m.Len()-1, [16]byte{1})
			return command.SpillSegments{Partition: genPart.Draw(t, "p"), Epoch: genEpoch.Draw(t, "epoch"), Page: page}
		}
		return command.AllocateProducerIDs{Count: rapid.Int32Range(0, 9).Draw(t, "count")}
	case 14, 15:
		return command.CommitOffsets{Group: genGroup.Draw(t, "group"), Offsets: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) command.OffsetCommit {
			return command.OffsetCommit{Partition: genPart.Draw(t, "p"), Offset: genOffset.Draw(t, "offset"), LeaderEpoch: genEpoch.Draw(t, "epoch"), Metadata: genName.Draw(t, "metadata")}
		}), 0, 4).Draw(t, "offsets")}
	case 16:
		return command.DeleteOffsets{Group: genGroup.Draw(t, "group"), Partitions: rapid.SliceOfN(genPart, 0, 3).Draw(t, "partitions")}
	case 17:
		if rapid.Bool().Draw(t, "parts") {
			return command.ChangeGroup{
				Group: genGroup.Draw(t, "group"), Type: genName.Draw(t, "type"), Base: uint64(rapid.SampledFrom([]int{0, 0, 1, 2, 3, 5, 8}).Draw(t, "base")),
				Put: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) command.GroupPart {
					return command.GroupPart{Key: genName.Draw(t, "key"), Value: rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "value")}
				}), 0, 3).Draw(t, "put"),
				Delete: rapid.SliceOfN(genName, 0, 2).Draw(t, "delete"),
			}
		}
		return command.PutGroup{Group: genGroup.Draw(t, "group"), Type: genName.Draw(t, "type"), State: rapid.SampledFrom([][]byte{nil, {}, {1, 2}}).Draw(t, "state")}
	case 18:
		return command.DeleteGroup{Group: genGroup.Draw(t, "group")}
	case 19, 20:
		return command.RegisterBroker{ID: genBroker.Draw(t, "id"), Incarnation: [16]byte{byte(rapid.IntRange(0, 1).Draw(t, "incarnation"))}, Rack: genName.Draw(t, "rack"), Fenced: rapid.Bool().Draw(t, "fenced"), Directory: [16]byte{byte(rapid.IntRange(0, 2).Draw(t, "directory"))}, Version: rapid.SampledFrom([]string{"", command.WithLevel("", 1), command.WithLevel("", 2), command.WithLevel("", 3), command.WithLevel("", 4), command.WithLevel("", command.NewestLevel)}).Draw(t, "version")}
	case 21, 22:
		return command.SetBrokerState{ID: genBroker.Draw(t, "id"), Epoch: kafka.BrokerEpoch(rapid.IntRange(0, 9).Draw(t, "epoch")), State: command.BrokerState(rapid.IntRange(0, 3).Draw(t, "state"))}
	case 23:
		return command.DrainBroker{ID: genBroker.Draw(t, "id"), Drain: rapid.Bool().Draw(t, "drain")}
	case 24:
		return command.UnregisterBroker{ID: genBroker.Draw(t, "id")}
	case 25, 26:
		return command.AlterISR{Changes: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) command.ISRChange {
			c := command.ISRChange{Partition: genPart.Draw(t, "p"), LeaderEpoch: genEpoch.Draw(t, "epoch"), Expected: genVersion.Draw(t, "expected"), ELR: genELR.Draw(t, "elr")}
			for _, id := range genReplicas.Draw(t, "isr") {
				c.ISR = append(c.ISR, command.ISRMember{ID: id, Epoch: kafka.BrokerEpoch(rapid.IntRange(0, 9).Draw(t, "member"))})
			}
			return c
		}), 1, 3).Draw(t, "changes")}
	case 27, 28:
		return command.AssignReplicas{Changes: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) command.Assignment {
			return command.Assignment{Partition: genPart.Draw(t, "p"), Expected: genVersion.Draw(t, "expected"), Target: rapid.OneOf(genReplicas, rapid.Just[[]kafka.BrokerID](nil)).Draw(t, "target")}
		}), 1, 3).Draw(t, "changes")}
	case 29:
		return command.FinishAssignments{Changes: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) command.Finish {
			return command.Finish{Partition: genPart.Draw(t, "p"), Expected: genVersion.Draw(t, "expected"), Leader: genBroker.Draw(t, "leader")}
		}), 1, 3).Draw(t, "changes")}
	case 30:
		return command.SetLevel{Level: command.Level(rapid.IntRange(0, int(command.NewestLevel)).Draw(t, "level"))}
	case 31, 32, 33, 34:
		return command.PutTransaction{Transaction: command.Transaction{
			ID: genTxn.Draw(t, "id"), Revision: uint64(rapid.IntRange(1, 4).Draw(t, "revision")), Producer: 5, Epoch: kafka.ProducerEpoch(rapid.IntRange(0, 1).Draw(t, "epoch")),
			State: command.TxnState(rapid.SampledFrom([]int{0, 1, 1, 1, 2, 3, 4, 5, 6}).Draw(t, "state")), Partitions: rapid.SliceOfN(genPart, 0, 2).Draw(t, "partitions"),
			Groups: rapid.SampledFrom([][]string{nil, {"g"}, {"g", "h"}, {"h"}}).Draw(t, "groups"),
		}}
	case 35, 36, 37:
		return command.CommitTxnOffsets{Group: genGroup.Draw(t, "group"), ID: genTxn.Draw(t, "id"), Producer: 5, Epoch: kafka.ProducerEpoch(rapid.IntRange(0, 1).Draw(t, "epoch")),
			Offsets: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) command.OffsetCommit {
				return command.OffsetCommit{Partition: genPart.Draw(t, "p"), Offset: genOffset.Draw(t, "offset")}
			}), 0, 4).Draw(t, "offsets")}
	case 39, 40:
		return command.ChangeGroup{Group: "share", Type: ShareGroup, Base: uint64(rapid.SampledFrom([]int{0, 0, 1, 2, 3, 5, 8}).Draw(t, "base")), Put: []command.GroupPart{{Key: "g"}}}
	case 41, 42, 43, 44:
		c := command.ChangeShare{
			Group: "share", Partition: genPart.Draw(t, "p"), LeaderEpoch: genEpoch.Draw(t, "epoch"),
			Base: uint64(rapid.SampledFrom([]int{0, 0, 1, 2, 3, 5, 8}).Draw(t, "base")), Start: genOffset.Draw(t, "start"),
		}
		for at := c.Start; rapid.Bool().Draw(t, "more"); {
			r := command.ShareRun{First: at + kafka.Offset(rapid.IntRange(0, 2).Draw(t, "gap")), State: command.ShareState(rapid.IntRange(0, 2).Draw(t, "state") * 2), Deliveries: int16(rapid.IntRange(0, 2).Draw(t, "deliveries"))}
			r.Next = r.First + kafka.Offset(rapid.IntRange(1, 3).Draw(t, "length"))
			c.Put, at = append(c.Put, r), r.Next
		}
		return c
	case 45:
		return command.ResetShares{Group: "share", Starts: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) command.ShareStart {
			return command.ShareStart{Partition: genPart.Draw(t, "p"), Start: genOffset.Draw(t, "start")}
		}), 0, 2).Draw(t, "starts")}
	case 38:
		return command.DeleteTransaction{ID: genTxn.Draw(t, "id"), Revision: uint64(rapid.IntRange(1, 4).Draw(t, "revision"))}
	default:
		return command.PlaceCoordinators{Shards: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) command.ShardPlacement {
			return command.ShardPlacement{Shard: rapid.Int32Range(0, 2).Draw(t, "shard"), Broker: genBroker.Draw(t, "broker"), Expected: kafka.CoordinatorEpoch(rapid.IntRange(0, 2).Draw(t, "expected"))}
		}), 1, 3).Draw(t, "shards")}
	}
})

var genStep = rapid.Custom(func(t *rapid.T) step {
	return step{
		env: command.Envelope{
			Broker: genBroker.Draw(t, "broker"), BrokerEpoch: kafka.BrokerEpoch(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "broker epoch")),
			Session: uint64(rapid.IntRange(0, 1).Draw(t, "session")), Request: uint64(rapid.IntRange(0, 12).Draw(t, "request")), TimeMs: int64(rapid.IntRange(0, 9).Draw(t, "time")),
		},
		commands: rapid.SliceOfN(genCommand, 1, 4).Draw(t, "commands"),
	}
})

// run applies steps as the entries from index on, by way of their bytes, some of them in one transaction: a cut after
// step i when cut(i). It returns what was answered and what was changed.
func run(t testing.TB, m *Image, index uint64, steps []step, cut func(i int) bool) (*Image, []string, Changes) {
	var answers []string
	var all Folder
	tx := Begin(m)
	for i, s := range steps {
		entry, err := command.Encode(s.env, s.commands...)
		if err != nil {
			t.Fatal(err)
		}
		proposals, err := command.Decode(entry)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range proposals {
			r, err := tx.Apply(index+uint64(i), p.Envelope, p.Command)
			if err != nil {
				err = errors.Unwrap(err) // the decision: a retry is not told the particulars
			}
			answers = append(answers, fmt.Sprintf("%v, %v", r, err))
		}
		if cut(i) {
			var ch Changes
			m, ch = tx.Commit()
			all.Add(ch)
			tx = Begin(m)
		}
	}
	m, ch := tx.Commit()
	all.Add(ch)
	return m, answers, all.Take()
}

// Whatever the commands: the image after all of them is the image after a snapshot in their midst and the rest, answer
// for answer and byte for byte, and however the entries were grouped into transactions.
func TestSnapshotAndRestIsAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(genStep, 1, 30).Draw(rt, "steps")
		at := rapid.IntRange(0, len(steps)).Draw(rt, "snapshot after")
		every := rapid.IntRange(1, 4).Draw(rt, "transactions of")

		whole, answers, _ := run(t, Empty(), 1, steps, func(int) bool { return true })
		half, first, _ := run(t, Empty(), 1, steps[:at], func(i int) bool { return i%every == 0 })
		bytesAtHalf := encoded(t, half)
		restored, err := Decode(bytes.NewReader(bytesAtHalf))
		if err != nil {
			rt.Fatalf("decode: %v", err)
		}
		if again := encoded(t, restored); string(again) != string(bytesAtHalf) {
			rt.Fatalf("a restored image encodes differently:\n%x\n%x", bytesAtHalf, again)
		}
		if d := Diff(half, restored); !d.Empty() {
			rt.Fatalf("a restored image differs: %+v", d)
		}
		rest, second, _ := run(t, restored, uint64(at)+1, steps[at:], func(i int) bool { return i%every == 0 })
		if string(encoded(t, rest)) != string(encoded(t, whole)) {
			rt.Fatalf("images differ: %+v", Diff(whole, rest))
		}
		if got := append(first, second...); !slices.Equal(got, answers) {
			rt.Fatalf("answers differ:\n%q\n%q", got, answers)
		}
		if string(encoded(t, half)) != string(bytesAtHalf) {
			rt.Fatal("an image changed after it was committed")
		}
	})
}

// What differs between two images is among the changes that their transactions reported: whoever acts on changes misses nothing.
func TestChangesNameEveryDifference(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		before, _, _ := run(t, Empty(), 1, rapid.SliceOfN(genStep, 0, 15).Draw(rt, "before"), func(int) bool { return true })
		after, _, reported := run(t, before, 100, rapid.SliceOfN(genStep, 1, 15).Draw(rt, "steps"), func(i int) bool { return i%2 == 0 })
		differ := Diff(before, after)
		missing := func(kind string, n int) {
			if n > 0 {
				rt.Errorf("%d %s differ and were not reported: %+v\nreported %+v", n, kind, differ, reported)
			}
		}
		missing("topics", lacks(differ.Topics, reported.Topics))
		missing("configs", lacks(differ.Configs, reported.Configs))
		missing("brokers", lacks(differ.Brokers, reported.Brokers))
		left := differ.Partitions
		left = slices.DeleteFunc(left, func(p kafka.Partition) bool { return slices.Contains(reported.Topics, p.Topic) })
		missing("partitions", lacks(left, reported.Partitions))
		groups := slices.DeleteFunc(differ.Groups, func(name string) bool {
			old, _ := before.Group(name)
			_, is := after.Group(name)
			return old == nil && is // it came with offsets: no change that is acted on (a state is reported below)
		})
		missing("groups", lacks(groups, reported.Groups))
		after.Groups(func(g *Group) bool {
			if old, ok := before.Group(g.Name); g.Kept() && !ok && !slices.Contains(reported.Groups, g.Name) {
				rt.Errorf("group %q got a state, was %+v", g.Name, old)
			}
			return true
		})
	})
}

// lacks counts what of a is not in b.
func lacks[T comparable](a, b []T) (n int) {
	for _, v := range a {
		if !slices.Contains(b, v) {
			n++
		}
	}
	return n
}

package admin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// failingFor is how long what is to go to the bucket must have failed, each time, to be a problem: a store that is busy, or away for a moment,
// is none.
const failingFor = time.Minute

// Ailments are what is wrong with this broker's partitions, the gravest first, as far as the image does not show it. Partitions are in order, all of them.
func (b *Backend) Ailments() []control.Ailment {
	var list []control.Ailment
	add := func(kind control.AilmentKind, of map[kafka.Partition]string) {
		if len(of) == 0 {
			return
		}
		a := control.Ailment{Broker: b.parts.Node, Kind: kind, Partitions: len(of)}
		for _, p := range slices.SortedFunc(maps.Keys(of), kafka.Partition.Compare) {
			a.Worst = append(a.Worst, control.Ailing{Topic: p.Topic, Index: p.Index, What: of[p]})
		}
		list = append(list, a)
	}
	offline, damaged, unreadable, unarchived := map[kafka.Partition]string{}, map[kafka.Partition]string{}, map[kafka.Partition]string{}, map[kafka.Partition]string{}
	for p, err := range b.parts.Hosted.Failed() {
		offline[p] = err.Error()
	}
	b.parts.Hosted.Each(func(p *partition.Partition) {
		if err := p.Damage(); err != nil {
			damaged[p.ID()] = err.Error()
		}
	})
	if b.parts.Config.HasBucket() {
		for p, l := range b.losses() {
			unreadable[p] = l.what
		}
		for _, s := range b.parts.Archive.Failing(failingFor) {
			unarchived[s.Partition] = fmt.Sprintf("for %v: %s", time.Since(s.FailingSince).Round(time.Second), s.LastError)
		}
		if err := b.parts.Archive.Held(); err != nil {
			for _, s := range b.parts.Archive.Status() {
				if s.PendingBytes > 0 {
					unarchived[s.Partition] = err.Error()
				}
			}
		}
	}
	add(control.Offline, offline)
	add(control.Damaged, damaged)
	add(control.Unreadable, unreadable)
	add(control.Unarchived, unarchived)
	return list
}

// loss is what of a partition the bucket does not give.
type loss struct {
	objects int
	what    string
	at      time.Time
}

// losses are what reads have found missing or damaged, and sweeps missing.
func (b *Backend) losses() map[kafka.Partition]loss {
	m := b.parts.Quorum.Image()
	return lossesOf(b.parts.Cold.Broken(func(p kafka.Partition) (manifest.Manifest, bool) {
		if ip, ok := m.Partition(p); ok {
			return ip.Remote, true
		}
		return manifest.Manifest{}, false
	}), b.parts.Archive.Lost())
}

// Losses are the partitions of which the bucket does not give everything, and how many objects of them it does not give, as far as that is known.
func (b *Backend) Losses() (partitions, objects int) {
	if !b.parts.Config.HasBucket() {
		return 0, 0
	}
	of := b.losses()
	for _, l := range of {
		objects += l.objects
	}
	return len(of), objects
}

// lossesOf puts together, by partition, what was noticed in two ways.
func lossesOf(broken []cold.Broken, lost []archive.Lost) map[kafka.Partition]loss {
	of := map[kafka.Partition]loss{}
	for _, x := range broken {
		l := of[x.Partition]
		if l.objects++; l.objects == 1 {
			l.what = fmt.Sprintf("offsets [%d, %d): %v", x.Base, x.Next, x.Err)
		}
		if x.At.After(l.at) {
			l.at = x.At
		}
		of[x.Partition] = l
	}
	for _, x := range lost {
		l := of[x.Partition]
		if l.what == "" {
			l.what = fmt.Sprintf("%d of %d objects are missing in the bucket, the sweep of %s found", x.Objects, x.Of, x.At.UTC().Format(time.RFC3339))
		}
		l.objects = max(l.objects, x.Objects)
		if x.At.After(l.at) {
			l.at = x.At
		}
		of[x.Partition] = l
	}
	return of
}

// ailmentWords are what each kind is called among the problems, and what to do.
var ailmentWords = map[control.AilmentKind]struct{ partition, one, many, remedy string }{
	control.Offline: {
		"offline", "is offline: its storage does not open", "are offline: their storage does not open",
		`mend what the error names, it is tried again every 10 s (docs/operations.md, "Damaged partition")`,
	},
	control.Damaged: {
		"damaged", "takes no records: local data is damaged that nothing else holds", "take no records: local data is damaged that nothing else holds",
		`restore the segment, or give it up (docs/operations.md, "Damaged partition")`,
	},
	control.Unreadable: {
		"objects missing or damaged", "has objects in the bucket that are missing or damaged: what only they hold cannot be read",
		"have objects in the bucket that are missing or damaged: what only they hold cannot be read",
		`bring the objects back, or give their offsets up (docs/operations.md, "Objects missing")`,
	},
	control.Unarchived: {
		"uploads fail", "does not get its segments into the bucket", "do not get their segments into the bucket",
		`mend the bucket, or the way to it; uploads go on by themselves (docs/operations.md, "Bucket down"; "Bucket lost" where it is not the one that it was)`,
	},
}

// ailmentHealth tells of what ails partitions on any broker that is active: own are the ailments of the broker that was asked, told those
// that the controller has told of.
func ailmentHealth(c *console.Cluster, m *image.Image, own, told []control.Ailment) {
	all := slices.Clone(own)
	for _, a := range told {
		if int32(a.Broker) != c.AskedOf {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(x, y control.Ailment) int { return cmp.Compare(x.Kind, y.Kind) })
	for _, a := range all {
		words, known := ailmentWords[a.Kind]
		if r, ok := m.Broker(a.Broker); !ok || r.State != command.Active && int32(a.Broker) != c.AskedOf || a.Partitions == 0 || !known {
			continue // it is told of as fenced; or a later release knows more kinds
		}
		switch a.Kind {
		case control.Offline:
			c.Offline += a.Partitions
		case control.Damaged:
			c.Damaged += a.Partitions
		case control.Unreadable:
			c.Unreadable = max(c.Unreadable, a.Partitions) // the bucket is one, and each broker that looks finds the same
		case control.Unarchived:
			c.Unarchived += a.Partitions
		}
		c.Problems = append(c.Problems, ailmentProblem(m, a, words.one, words.many, words.remedy))
		for _, x := range a.Worst[:min(len(a.Worst), max(worstPartitions-len(c.Worst), 0))] {
			h := console.PartitionHealth{Topic: topicName(m, x.Partition()), Partition: x.Index, Leader: int32(kafka.NoBroker), Problem: fmt.Sprintf("%s (broker %d)", words.partition, a.Broker)}
			h.Replicas, h.ISR, h.ELR = []int32{}, []int32{}, []int32{}
			if p, ok := m.Partition(x.Partition()); ok {
				h.Leader, h.Replicas, h.ISR, h.ELR = int32(p.Leader), numbers(p.Replicas), numbers(p.ISR), numbers(p.ELR)
			}
			c.Worst = append(c.Worst, h)
		}
	}
}

func ailmentProblem(m *image.Image, a control.Ailment, one, many, remedy string) string {
	s := fmt.Sprintf("%d partitions on broker %d %s", a.Partitions, a.Broker, many)
	if a.Partitions == 1 {
		s = fmt.Sprintf("1 partition on broker %d %s", a.Broker, one)
	}
	if len(a.Worst) > 0 {
		x := a.Worst[0]
		s += fmt.Sprintf("; %s-%d: %s", topicName(m, x.Partition()), x.Index, x.What)
	}
	return s + "; " + remedy
}

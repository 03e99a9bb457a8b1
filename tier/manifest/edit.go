package manifest

import (
	"errors"
	"fmt"
	"sort"

	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrStaleEpoch says that an upload came from a leader that has been replaced.
var ErrStaleEpoch = errors.New("segment was uploaded under an epoch that is not current")

// ErrNotContiguous says that an upload does not begin where the manifest ends.
var ErrNotContiguous = errors.New("segment does not begin where the remote log ends")

// minSlots is the smallest store: most partitions hold few remote segments.
const minSlots = 4

// Append adds e at the end. current is the partition's leader epoch. An empty
// manifest takes any base. Appending an entry that is already there is a no-op
// (a retried proposal), whatever the epoch is by now: what was decided stays.
//
// Errors: ErrInvalid, ErrStaleEpoch, ErrNotContiguous, ErrSpilled. m is not changed.
func (m Manifest) Append(e Entry, current kafka.LeaderEpoch) (Manifest, error) {
	if err := e.Validate(); err != nil {
		return m, err
	}
	if m.Holds(e) {
		return m, nil
	}
	if len(m.pages) > 0 && e.Base < m.Recent() {
		// It may have been taken, and spilled since; whoever is told that it was not would delete its object.
		return m, fmt.Errorf("%w: segment %d", ErrSpilled, e.Base)
	}
	if e.Epoch != current {
		return m, fmt.Errorf("%w: segment %d has epoch %d, current is %d", ErrStaleEpoch, e.Base, e.Epoch, current)
	}
	return m.add(e)
}

// add is Append without regard to who leads now.
func (m Manifest) add(e Entry) (Manifest, error) {
	latest := e.MaxTimestamp
	if n := len(m.slots); n > 0 {
		last := &m.slots[n-1]
		if e.Base != last.entry.Next {
			return m, fmt.Errorf("%w: segment begins at %d, remote log ends at %d", ErrNotContiguous, e.Base, last.entry.Next)
		}
		if e.Epoch < last.entry.Epoch {
			return m, fmt.Errorf("%w: segment %d has epoch %d, the one before it %d", ErrStaleEpoch, e.Base, e.Epoch, last.entry.Epoch)
		}
		latest = max(latest, last.latest)
	}
	return m.push(slot{entry: e, latest: latest}), nil
}

// push puts s behind the last slot, in place if this version is the newest of its store.
func (m Manifest) push(s slot) Manifest {
	n := len(m.slots)
	if m.store != nil && cap(m.slots) > n {
		// cap runs to the store's end, so this is where our window ends in it.
		end := len(m.store.slots) - (cap(m.slots) - n)
		if m.store.claimed.CompareAndSwap(int64(end), int64(end+1)) {
			m.slots = m.slots[:n+1]
			m.slots[n] = s
			m.bytes += s.entry.Size
			return m
		}
	}
	grown := m.moved(max(minSlots, 2*n))
	grown.store.claimed.Store(int64(n + 1))
	grown.slots = grown.slots[:n+1]
	grown.slots[n] = s
	grown.bytes += s.entry.Size
	return grown
}

// moved copies m to a store of its own with the given room, at least m.Len().
func (m Manifest) moved(room int) Manifest {
	st := &store{slots: make([]slot, room)}
	n := copy(st.slots, m.slots)
	st.claimed.Store(int64(n))
	return Manifest{slots: st.slots[:n], store: st, bytes: m.bytes, pages: m.pages, trimmed: m.trimmed}
}

// TrimBefore removes the entries that lie wholly below start and returns
// those of them that were in memory, oldest first. m is not changed.
func (m Manifest) TrimBefore(start kafka.Offset) (rest Manifest, removed []Entry) {
	if len(m.pages) > 0 {
		m.trimPages(start)
	}
	k := sort.Search(len(m.slots), func(i int) bool { return m.slots[i].entry.Next > start })
	if k == 0 {
		return m, nil
	}
	removed = Manifest{slots: m.slots[:k]}.Entries()
	rest = m
	rest.slots = m.slots[k:]
	for _, e := range removed {
		rest.bytes -= e.Size
	}
	switch {
	case len(rest.slots) == 0:
		return Manifest{}, removed
	case rest.slots[0].latest != rest.slots[0].entry.MaxTimestamp:
		// Something removed was later than what is left: running maxima must be counted anew.
		rest = rest.moved(len(rest.slots))
		latest := rest.slots[0].entry.MaxTimestamp
		for i := range rest.slots {
			latest = max(latest, rest.slots[i].entry.MaxTimestamp)
			rest.slots[i].latest = latest
		}
	case cap(rest.slots) < len(rest.store.slots)/2:
		// More than half of the store lies before the window: give it back.
		rest = rest.moved(len(rest.slots))
	}
	return rest, removed
}

// New builds a manifest of the entries, oldest first, checking every
// invariant of the package. Its errors are Append's.
func New(entries []Entry) (Manifest, error) {
	if len(entries) == 0 {
		return Manifest{}, nil
	}
	m := Manifest{}.moved(len(entries))
	for _, e := range entries {
		if err := e.Validate(); err != nil {
			return Manifest{}, err
		}
		var err error
		if m, err = m.add(e); err != nil {
			return Manifest{}, err
		}
	}
	return m, nil
}

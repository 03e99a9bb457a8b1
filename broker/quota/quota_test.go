package quota

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

func named(n string) Part { return Part{Set: true, Name: n} }

var anyOther = Part{Set: true, Default: true}

// limited is an image with limits, each under its entity.
func limited(t *testing.T, limits map[Entity]map[string]string) *image.Image {
	t.Helper()
	m, index := image.Empty(), uint64(0)
	for e, l := range limits {
		index++
		next, _, _, err := image.Apply(m, index, command.Envelope{}, command.SetConfigs{Type: command.ClientQuota, Name: e.Resource(), Set: l})
		if err != nil {
			t.Fatal(err)
		}
		m = next
	}
	return m
}

// An entity would come back from the image as another one, for some name.
func TestResource(t *testing.T) {
	names := []string{"a", "<default>", "a/clients/b", "users", "ü %2f", "%", ".."}
	for _, n := range names {
		for _, e := range []Entity{
			{User: named(n)}, {Client: named(n)}, {User: named(n), Client: anyOther}, {User: anyOther, Client: named(n)},
			{User: named(n), Client: named(n)}, {IP: named(n)}, {User: anyOther}, {IP: anyOther},
		} {
			if back, ok := ParseResource(e.Resource()); !ok || back != e {
				t.Errorf("%+v came back from %q as %+v, %v", e, e.Resource(), back, ok)
			}
		}
	}
	for _, other := range []string{"", "users", "users/a/b/c", "clients/a/users/b", "users/a/users/b", "users/%zz"} {
		if e, ok := ParseResource(other); ok {
			t.Errorf("%q was taken for %+v", other, e)
		}
	}
}

// Of the limits that match a client another than the most particular one would count.
func TestMostParticular(t *testing.T) {
	order := []Entity{
		{User: named("u"), Client: named("c")}, {User: named("u"), Client: anyOther}, {User: named("u")},
		{User: anyOther, Client: named("c")}, {User: anyOther, Client: anyOther}, {User: anyOther},
		{Client: named("c")}, {Client: anyOther},
	}
	for first := range order {
		limits := map[Entity]map[string]string{{User: named("other"), Client: named("c")}: {produceKey: "1"}}
		for i := first; i < len(order); i++ {
			limits[order[i]] = map[string]string{produceKey: fmt.Sprint(100 + i)}
		}
		_, rate, ok := rulesOf(limited(t, limits)).limit("u", "c", produceKey)
		if !ok || rate != float64(100+first) {
			t.Errorf("without the first %d: the limit is %v, %v", first, rate, ok)
		}
	}
}

// Clients of a user would not share what is set for the user, or share what each has by default.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(time.Now, time.Second)
		q.Follow(limited(t, map[Entity]map[string]string{
			{User: named("u")}: {produceKey: "100"}, {Client: anyOther}: {produceKey: "100", fetchKey: "100"},
		}))
		if owed := q.Meter("u", "a").Produced(300); owed != 2*time.Second {
			t.Errorf("300 bytes at 100 a second, of which 100 were saved up: %s to wait", owed)
		}
		if owed := q.Meter("u", "b").Produced(0); owed != 2*time.Second {
			t.Errorf("another client of the user has %s to wait", owed)
		}
		q.Meter("v", "a").Produced(300)
		if owed := q.Meter("v", "b").Produced(1); owed != 0 {
			t.Errorf("a client with a limit of its own by default has %s to wait for another one's", owed)
		}
		q.Meter("w", "a").Fetched(300)
		if q.Meter("w", "a").FetchOwed() == 0 || q.Meter("w", "b").FetchOwed() != 0 {
			t.Error("fetches are not counted by client")
		}
		time.Sleep(2 * time.Second)
		if owed := q.Meter("u", "b").Produced(0); owed != 0 {
			t.Errorf("after what was owed was waited for, %s are still", owed)
		}
	})
}

// A limit would go on when it was taken away, or not begin when it was set; without any, clients would be remembered.
func TestFollow(t *testing.T) {
	q := New(time.Now, time.Second)
	if q.Meter("u", "c") != nil || q.Connected(netip.MustParseAddr("10.0.0.1")) != 0 {
		t.Error("something is bounded without limits")
	}
	q.Follow(limited(t, map[Entity]map[string]string{{Client: named("c")}: {requestKey: "0.0001"}}))
	m := q.Meter("u", "c")
	if m.Took(time.Minute); m.TimeOwed() != longestForTime {
		t.Errorf("a minute's work at a millionth of a core: %s to wait", m.TimeOwed())
	}
	q.Follow(image.Empty())
	if q.Meter("u", "c") != nil || len(q.meters)+len(q.shared) != 0 {
		t.Error("the limit is gone, and still there")
	}
}

// An address would open more connections than its limit, however it is spelled, or others would pay for it.
func TestConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(time.Now, time.Second)
		q.Follow(limited(t, map[Entity]map[string]string{{IP: named("::ffff:10.0.0.1")}: {connectionKey: "2"}}))
		ip := netip.MustParseAddr("10.0.0.1")
		taken := 0
		for range 100 {
			if q.Connected(ip) == 0 {
				taken++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if taken < 20 || taken > 24 {
			t.Errorf("%d connections in 10 s at 2 a second", taken)
		}
		if q.Connected(netip.MustParseAddr("10.0.0.2")) != 0 {
			t.Error("another address is bounded")
		}
	})
}

// Client ids that are made up would be remembered without bound, or a new one would clear what is owed.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(time.Now, time.Second)
		q.Follow(limited(t, map[Entity]map[string]string{{Client: anyOther}: {produceKey: "10"}}))
		q.Meter("u", "debtor").Produced(1_000_000)
		for i := range 3 * maxRemembered {
			q.Meter("u", fmt.Sprint(i)).Produced(0)
		}
		if len(q.meters) > maxRemembered || len(q.shared) > maxRemembered {
			t.Errorf("%d clients and %d quotas are remembered", len(q.meters), len(q.shared))
		}
		if q.Meter("u", "debtor").Produced(0) == 0 {
			t.Error("what was owed is forgotten")
		}
	})
}

// A limit that cannot be would be taken, or one that can be refused.
func TestCheckValue(t *testing.T) {
	client, address := Entity{Client: named("c")}, Entity{IP: anyOther}
	for _, x := range []struct {
		of    Entity
		key   string
		value float64
		ok    bool
	}{
		{client, produceKey, 1, true}, {client, produceKey, 0, false}, {client, produceKey, -1, false}, {client, produceKey, 1.5, false},
		{client, requestKey, 0.5, true}, {client, mutationKey, 0.5, true}, {client, connectionKey, 1, false}, {client, "no_rate", 1, false},
		{address, connectionKey, 1, true}, {address, connectionKey, 1 << 32, false}, {address, produceKey, 1, false},
	} {
		if err := x.of.CheckValue(x.key, x.value); (err == nil) != x.ok {
			t.Errorf("%s=%v: %v", x.key, x.value, err)
		}
	}
	for _, e := range []Entity{{}, {User: named(""), Client: named("c")}, {IP: named("host")}, {IP: anyOther, User: anyOther}} {
		if e.Check() == nil {
			t.Errorf("%+v was taken", e)
		}
	}
}

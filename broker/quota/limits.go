package quota

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// Kafka's keys.
const (
	produceKey    = "producer_byte_rate"       // bytes a second
	fetchKey      = "consumer_byte_rate"       // bytes a second
	requestKey    = "request_percentage"       // of one core's time
	mutationKey   = "controller_mutation_rate" // partitions created and deleted a second
	connectionKey = "connection_creation_rate" // connections a second
)

// kind is what a quota counts.
type kind int

const (
	produces kind = iota
	fetches
	requests
	mutations
	kinds
)

// clientKeys are those of users and clients, by kind.
var clientKeys = [kinds]string{produceKey, fetchKey, requestKey, mutationKey}

// whole are the keys whose values are whole numbers, and up to where.
var whole = map[string]float64{produceKey: math.MaxInt64, fetchKey: math.MaxInt64, connectionKey: math.MaxInt32}

// Keys are those that an entity may have.
func (e Entity) Keys() []string {
	if e.IP.Set {
		return []string{connectionKey}
	}
	return clientKeys[:]
}

// Check refuses an entity that there cannot be.
func (e Entity) Check() error {
	switch {
	case !e.User.Set && !e.Client.Set && !e.IP.Set:
		return fmt.Errorf("a quota needs a %s, a %s or an %s", User, ClientID, IP)
	case e.IP.Set && (e.User.Set || e.Client.Set):
		return fmt.Errorf("a quota of an %s does not combine with a %s or a %s", IP, User, ClientID)
	}
	for kind, p := range e.Parts() {
		if p.Name == "" && !p.Default {
			return fmt.Errorf("the %s is empty; leave its name out to mean the default", kind)
		}
	}
	if _, ok := address(e.IP.Name); e.IP.Set && !e.IP.Default && !ok {
		return fmt.Errorf("%q is not an IP address", e.IP.Name)
	}
	return nil
}

// CheckValue refuses a limit that an entity cannot have.
func (e Entity) CheckValue(key string, value float64) error {
	if !slices.Contains(e.Keys(), key) {
		return fmt.Errorf("%q is no quota of this entity; there are %v", key, e.Keys())
	}
	most, integral := whole[key]
	switch {
	case math.IsNaN(value) || value <= 0:
		return fmt.Errorf("%s must be greater than 0, not %v", key, value)
	case integral && value > most:
		return fmt.Errorf("%s is at most %.0f, not %v", key, most, value)
	case integral && math.Abs(value-math.Round(value)) > 1e-6: // as much as Kafka lets pass
		return fmt.Errorf("%s must be a whole number, not %v", key, value)
	}
	return nil
}

// Format is a limit as it lies in the image.
func Format(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }

// Limits are an entity's, by key.
type Limits map[string]float64

// Each calls do for every entity of the image that has limits.
func Each(m *image.Image, do func(Entity, Limits)) {
	for _, name := range m.ConfigNames(command.ClientQuota) {
		e, ok := ParseResource(name)
		if !ok {
			continue
		}
		l := Limits{}
		for k, v := range m.Configs(command.ClientQuota, name) {
			if f, err := strconv.ParseFloat(v, 64); err == nil {
				l[k] = f
			}
		}
		do(e, l)
	}
}

// rules are all limits of an image. Immutable.
type rules struct {
	of      map[Entity]Limits
	clients bool // some limit is of users or clients
	ips     bool // some limit is of addresses
}

func rulesOf(m *image.Image) *rules {
	r := &rules{of: map[Entity]Limits{}}
	Each(m, func(e Entity, l Limits) {
		if a, ok := address(e.IP.Name); ok {
			e.IP.Name = a.String() // one address has several spellings
		}
		r.of[e] = l
		r.clients = r.clients || !e.IP.Set
		r.ips = r.ips || e.IP.Set
	})
	return r
}

// candidates are the entities that match a client, the most particular first, and for each of them who shares its limit.
func candidates(user, client string) [8][2]Entity {
	named, byDefault := func(n string) Part { return Part{Set: true, Name: n} }, Part{Set: true, Default: true}
	u, c := named(user), named(client)
	pair, anyClient, anyUser := Entity{User: u, Client: c}, Entity{Client: c}, Entity{User: u}
	return [8][2]Entity{
		{pair, pair},
		{{User: u, Client: byDefault}, pair},
		{anyUser, anyUser},
		{{User: byDefault, Client: c}, pair},
		{{User: byDefault, Client: byDefault}, pair},
		{{User: byDefault}, anyUser},
		{anyClient, anyClient},
		{{Client: byDefault}, anyClient},
	}
}

// limit finds what bounds a client, and who shares it. false when nothing does.
func (r *rules) limit(user, client, key string) (shared Entity, rate float64, ok bool) {
	for _, c := range candidates(user, client) {
		if rate, ok := r.of[c[0]][key]; ok {
			return c[1], rate, true
		}
	}
	return Entity{}, 0, false
}

// connections finds what bounds an address.
func (r *rules) connections(address string) (rate float64, ok bool) {
	for _, p := range []Part{{Set: true, Name: address}, {Set: true, Default: true}} {
		if rate, ok = r.of[Entity{IP: p}][connectionKey]; ok {
			return rate, true
		}
	}
	return 0, false
}

package quota

import (
	"net/netip"
	"net/url"
	"strings"
)

// The types that entities are made of, as Kafka names them.
const (
	User     = "user"
	ClientID = "client-id"
	IP       = "ip"
)

// Part is a type's value in an entity.
type Part struct {
	Set     bool   // the entity speaks of this type
	Default bool   // of all that have no limit of their own
	Name    string // unless Default
}

// Entity is whom a limit is for. Of IP and the other two only one side is set.
type Entity struct{ User, Client, IP Part }

// Parts are an entity's parts by type.
func (e Entity) Parts() map[string]Part {
	m := map[string]Part{}
	for kind, p := range map[string]Part{User: e.User, ClientID: e.Client, IP: e.IP} {
		if p.Set {
			m[kind] = p
		}
	}
	return m
}

// segments are the types as they stand in a resource's name, in order.
var segments = []struct {
	name string
	of   func(*Entity) *Part
}{
	{"users", func(e *Entity) *Part { return &e.User }},
	{"clients", func(e *Entity) *Part { return &e.Client }},
	{"ips", func(e *Entity) *Part { return &e.IP }},
}

// defaultName is no name: in names '<' is escaped.
const defaultName = "<default>"

// Resource is the entity's name in the image, like Kafka's paths of old: users/alice/clients/<default>. Names are escaped as in a URL's path.
func (e Entity) Resource() string {
	var b strings.Builder
	for _, s := range segments {
		p := s.of(&e)
		if !p.Set {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(s.name + "/")
		if p.Default {
			b.WriteString(defaultName)
		} else {
			b.WriteString(url.PathEscape(p.Name))
		}
	}
	return b.String()
}

// ParseResource is the reverse of Resource; false for what it did not make.
func ParseResource(name string) (e Entity, ok bool) {
	words := strings.Split(name, "/")
	if len(words)%2 != 0 {
		return e, false
	}
	for i := 0; i < len(words); i += 2 {
		for _, s := range segments {
			if s.name != words[i] {
				continue
			}
			p := s.of(&e)
			p.Set = true
			if p.Default = words[i+1] == defaultName; !p.Default {
				n, err := url.PathUnescape(words[i+1])
				if err != nil {
					return e, false
				}
				p.Name = n
			}
		}
	}
	return e, e.Resource() == name
}

// address is an IP entity's name as connections have it.
func address(name string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(name)
	return a.Unmap(), err == nil
}

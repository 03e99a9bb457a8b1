package consumer

import (
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/group"
)

// classic is what a member has that uses the classic protocol in a group of this one.
type classic struct {
	session   time.Duration
	protocols []group.Protocol // never empty
}

func (c *classic) bytes() (n int) {
	if c != nil {
		for _, p := range c.protocols {
			n += len(p.Name) + len(p.Metadata)
		}
	}
	return n
}

func (c *classic) durable() *durableClassic {
	if c == nil {
		return nil
	}
	d := &durableClassic{SessionMs: c.session.Milliseconds()}
	for _, p := range c.protocols {
		d.Protocols = append(d.Protocols, durableProtocol(p))
	}
	return d
}

func (d *durableClassic) classic() (*classic, error) {
	if d == nil {
		return nil, nil
	}
	session, err := duration(d.SessionMs)
	if err != nil || len(d.Protocols) == 0 {
		return nil, fmt.Errorf("classic member with %d protocols: %w", len(d.Protocols), err)
	}
	c := &classic{session: session}
	for _, p := range d.Protocols {
		c.protocols = append(c.protocols, group.Protocol(p))
	}
	return c, nil
}

package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire/kafka"
)

// FirstPrivateKey is where the API between brokers begins: its keys are named in broker/peer, and are unknown on a listener for clients.
const FirstPrivateKey int16 = 20000

// Peer is the broker at the other end of a connection, as the handshake has established it (broker/peer).
type Peer struct {
	Node    kafka.BrokerID
	Cluster string // "" while it forms or joins one
	Release string
	// Directory is drawn when a data directory is made. Admission orders the directories that were admitted under one node id.
	Directory [16]byte
	Admission uint64
}

// Private is a request of the API between brokers, or the answer to one: the body is its callee's to decode. It is a
// kmsg.Request and a kmsg.Response, and flexible in every version.
type Private struct {
	APIKey, Version int16
	Body            []byte // of a request: may be kept
}

func (p *Private) Key() int16                  { return p.APIKey }
func (p *Private) MaxVersion() int16           { return p.Version }
func (p *Private) SetVersion(v int16)          { p.Version = v }
func (p *Private) GetVersion() int16           { return p.Version }
func (p *Private) IsFlexible() bool            { return true }
func (p *Private) AppendTo(dst []byte) []byte  { return append(dst, p.Body...) }
func (p *Private) ReadFrom(b []byte) error     { p.Body = b; return nil }
func (p *Private) ResponseKind() kmsg.Response { return &Private{APIKey: p.APIKey, Version: p.Version} }
func (p *Private) RequestKind() kmsg.Request   { return &Private{APIKey: p.APIKey, Version: p.Version} }

// ParsePeerHeader is ParseHeader for a listener between brokers, where private keys are known.
func ParsePeerHeader(frame []byte) (h Header, body []byte, err error) {
	const fixedLen = 10
	if len(frame) < fixedLen || int16(binary.BigEndian.Uint16(frame)) < FirstPrivateKey {
		return ParseHeader(frame)
	}
	h.Key = int16(binary.BigEndian.Uint16(frame))
	h.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(frame[4:]))
	h.private = true
	if err := h.readRest(frame[8:], true, &body); err != nil {
		return h, nil, err
	}
	return h, body, nil
}

// readRest reads what follows the fixed part of a header.
func (h *Header) readRest(p []byte, flexible bool, body *[]byte) error {
	g := guard{p: p} // the client id is never compact, so that any broker can read it
	n := int64(int16(binary.BigEndian.Uint16(g.p)))
	g.p = g.p[2:]
	if n >= 0 {
		if n > int64(len(g.p)) {
			return fmt.Errorf("%w: client id of %d bytes", ErrMalformed, n)
		}
		h.ClientID = g.p[:n:n]
		g.p = g.p[n:]
	}
	if flexible && !g.tags(&noTags) {
		return fmt.Errorf("%w: header: %s", ErrMalformed, g.fault)
	}
	*body = g.p
	return nil
}

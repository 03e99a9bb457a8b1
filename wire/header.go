package wire

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Header is a request's header (v1, or v2 where the request is flexible).
type Header struct {
	Key, Version  int16
	CorrelationID int32
	ClientID      []byte // nil is null; aliases the frame
	// TooNew is set for an ApiVersions request that is newer than the table: its body is not decoded, and its answer is
	// one of version 0 (KIP-511).
	TooNew  bool
	private bool // of the API between brokers
	program *program
}

// ParseHeader reads the header of a frame (without its size) and returns the body. A key or version that is not served
// gives ErrUnknownAPI or ErrUnsupportedVersion, with as much of the header as was read: there is no way to answer it, as
// the client could not parse the answer. The error may also wrap ErrMalformed.
func ParseHeader(frame []byte) (h Header, body []byte, err error) {
	const fixedLen = 10
	if len(frame) < fixedLen {
		return h, nil, fmt.Errorf("%w: header of %d bytes", ErrMalformed, len(frame))
	}
	h.Key = int16(binary.BigEndian.Uint16(frame))
	h.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(frame[4:]))
	api := lookup(h.Key)
	if api == nil {
		return h, nil, fmt.Errorf("%w: %d", ErrUnknownAPI, h.Key)
	}
	if h.Version < api.Min || h.Version > api.Max {
		if h.Key != apiVersionsKey {
			return h, nil, fmt.Errorf("%w: %s v%d", ErrUnsupportedVersion, api.Name, h.Version)
		}
		h.TooNew = true
		return h, nil, nil // what follows may have any shape
	}
	h.program = programOf(h.Key, h.Version)
	if err := h.readRest(frame[8:], h.program.flexible, &body); err != nil {
		return h, nil, err
	}
	return h, body, nil
}

// noTags is a tag section of which no tag is known.
var noTags = step{kind: tags}

// Aliases tells whether the decoded request will point into the body: it has fields of bytes, which kmsg does not copy.
func (h *Header) Aliases() bool { return h.private || h.program != nil && h.program.blobs }

// Borrows tells whether the request may only be used until its Reply, since its frame is another's afterwards. That is
// Produce, whose records are most of what a broker reads. The bytes of other requests are the handler's to keep.
func (h *Header) Borrows() bool { return h.Key == produceKey }

// Flexible tells whether the request, and so its answer, has tags.
func (h *Header) Flexible() bool { return h.private || h.program != nil && h.program.flexible }

// Decode guards and decodes the body. It returns nil for a request that is TooNew. The error wraps ErrMalformed.
func (h *Header) Decode(body []byte) (kmsg.Request, error) {
	if h.TooNew {
		return nil, nil
	}
	if h.private {
		return &Private{APIKey: h.Key, Version: h.Version, Body: body}, nil
	}
	if err := h.program.check(body); err != nil {
		return nil, fmt.Errorf("%s v%d: %w", lookup(h.Key).Name, h.Version, err)
	}
	req := newRequest(h.Key)
	req.SetVersion(h.Version)
	if err := req.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%s v%d: %w: %w", lookup(h.Key).Name, h.Version, ErrMalformed, err)
	}
	return req, nil
}

// produceRequests are decoded into again and again: they are most of a busy broker's requests, and five allocations each.
var produceRequests = sync.Pool{New: func() any { return kmsg.NewPtrProduceRequest() }}

func newRequest(key int16) kmsg.Request {
	if key == produceKey {
		return produceRequests.Get().(*kmsg.ProduceRequest)
	}
	return kmsg.RequestForKey(key)
}

// Recycle takes back a decoded request that nobody uses any more, for the next of its kind.
func Recycle(r kmsg.Request) {
	if p, ok := r.(*kmsg.ProduceRequest); ok && tidy(p) {
		produceRequests.Put(p)
	}
}

// maxRecycled is how many topics and partitions a request may have room for that is kept: all of it is gone through each time.
const maxRecycled = 4096

// tidy lets go of what a request points to; false when it is too large to be kept.
func tidy(p *kmsg.ProduceRequest) bool {
	p.TransactionID = nil
	topics := p.Topics[:cap(p.Topics)]
	room := len(topics)
	for i := range topics {
		partitions := topics[i].Partitions[:cap(topics[i].Partitions)]
		if room += len(partitions); room > maxRecycled {
			return false
		}
		for j := range partitions {
			partitions[j].Records = nil // else the request would keep a frame alive
		}
	}
	return true
}

// AppendResponseHeader writes a response's header: v1, with no tags, where the request is flexible, else v0. ApiVersions
// always has v0, so that a client can read it before it knows what the broker speaks (KIP-511).
func AppendResponseHeader(dst []byte, key int16, flexible bool, correlationID int32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if flexible && key != apiVersionsKey {
		dst = append(dst, 0)
	}
	return dst
}

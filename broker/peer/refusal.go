package peer

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Code is why a broker refuses another, its connection or its request. Numbers are never used again.
type Code uint16

const (
	CodeVersion     Code = 1  // handshake of a version that it does not speak
	CodeMalformed   Code = 2  // not to be understood
	CodeCluster     Code = 3  // of another cluster
	CodeWrongNode   Code = 4  // not the node that was meant
	CodeDuplicate   Code = 5  // its own node id, or that of a broker that lives
	CodeToken       Code = 6  // token missing or wrong
	CodeStale       Code = 7  // a directory that has been replaced
	CodeNotMember   Code = 8  // only members of the cluster may ask that
	CodeUnsupported Code = 9  // key or version of the private API that it does not know
	CodeFailed      Code = 10 // the request was understood and has failed; the text says how
	CodeNotLeader   Code = 11 // only the quorum's leader answers that
	CodeNotReady    Code = 12 // not yet, or not now: worth another try
	CodeRefused     Code = 13 // understood, and not done; the text says why
	CodeRole        Code = 14 // its certificate is no broker's, or another's
	CodeTLS         Code = 15 // no TLS with it; the other broker does not read this
)

// Refusal is the other broker's no, in its words.
type Refusal struct {
	Code Code
	Text string
}

func (r *Refusal) Error() string { return r.Text }

// Refuse makes a refusal, for a handler or Config.Check to return.
func Refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of a refusal in err's chain, 0 when there is none: then the other broker has not answered.
func CodeOf(err error) Code {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return 0
}

// refusals knows what was refused lately: who is refused comes back ten times a second, and a stranger as often as he likes.
// The zero value is ready.
type refusals struct {
	mu   sync.Mutex
	said map[string]time.Time // by host and code
}

const (
	sayAgain    = time.Minute
	maxRefusals = 1000 // hosts and codes that are remembered; of more than that nothing is news
)

// news tells whether this is worth a line in the log: the first refusal of a host with a code, and one a minute after it.
func (r *refusals) news(from net.Addr, code Code, now time.Time) bool {
	host, _, err := net.SplitHostPort(from.String())
	if err != nil {
		host = from.String()
	}
	key := fmt.Sprintf("%d %s", code, host)
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.said[key]; ok && now.Sub(at) < sayAgain {
		return false
	}
	for k, at := range r.said {
		if len(r.said) >= maxRefusals && now.Sub(at) >= sayAgain {
			delete(r.said, k)
		}
	}
	if _, ok := r.said[key]; !ok && len(r.said) >= maxRefusals {
		return false
	}
	if r.said == nil {
		r.said = map[string]time.Time{}
	}
	r.said[key] = now
	return true
}

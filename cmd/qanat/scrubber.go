package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/qanat-io/qanat/metadata/config"
)

// hidden stands where a secret was.
const hidden = "(hidden)"

// scrubber takes secrets out of text: those that it knows, wherever they stand, and what looks like one.
type scrubber struct {
	known [][]byte // the longest first, as one may begin another
}

// shortest is how long a known secret is at least: what is shorter would take half of every text with it.
const shortest = 4

// anywhere is from how long on a known secret is looked for within words too. A shorter one may be a word of its own (a test server's access key was
// "qanat", and every metric went).
const anywhere = 8

// newScrubber knows the secrets of a configuration (nil where there is none) and of an environment.
func newScrubber(cfg *config.Broker, environ []string) *scrubber {
	s := &scrubber{}
	if cfg != nil {
		for _, e := range cfg.DescribeBroker(nil, nil) {
			if e.Key.Sensitive {
				s.know(cfg.String(e.Key.Name))
			}
		}
	}
	for _, v := range environ {
		if name, value, _ := strings.Cut(v, "="); secretName.MatchString(name) {
			s.know(value)
		}
	}
	slices.SortFunc(s.known, func(a, b []byte) int { return len(b) - len(a) })
	return s
}

// know adds a secret, as it is and as it stands in JSON.
func (s *scrubber) know(secret string) {
	quoted, err := json.Marshal(secret)
	if err != nil || len(secret) < shortest {
		return
	}
	for _, form := range [][]byte{[]byte(secret), quoted[1 : len(quoted)-1]} {
		if !slices.ContainsFunc(s.known, func(k []byte) bool { return bytes.Equal(k, form) }) {
			s.known = append(s.known, form)
		}
	}
}

var (
	// secretName are variables and keys whose values are not shown.
	secretName = regexp.MustCompile(`(?i)(passw(or)?d|passphrase|secret|token|credential|api[._-]?key|access[._-]?key|private[._-]?key|authorization|^otel_.*headers)`)
	privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)`)
	// keyed is NAME=VALUE, NAME: VALUE and "NAME":"VALUE", with a name that says that the value is secret.
	keyed = regexp.MustCompile(`(?i)([a-z0-9._-]*(?:passw(?:or)?d|passphrase|secret|token|credential|api[._-]?key|access[._-]?key|authorization)[a-z0-9._-]*\\?["']?\s*[=:]\s*)(\\?"(?:[^"\\]|\\[^"])*\\?"|'[^']*'|(?:(?:basic|bearer)\s+)?[^\s"',;&}]+)`)
	// userinfo is what stands before a URL's host. Secret keys have slashes, which none may write into a URL, and some do.
	userinfo = regexp.MustCompile(`([a-z][a-z0-9+.-]*://)(?:[^/\s"',]+@|[^/\s@"',:]*:[^\s"',]*@)`)
	awsKey   = regexp.MustCompile(`\b(AKIA|ASIA)[A-Z0-9]{16}\b`)
)

// replaceWords hides a secret where it is no part of a longer word.
func replaceWords(text, secret []byte) []byte {
	word := func(at int) bool {
		return at >= 0 && at < len(text) && (text[at] == '_' || text[at] >= '0' && text[at] <= '9' || text[at]|0x20 >= 'a' && text[at]|0x20 <= 'z')
	}
	var out []byte
	for from := 0; ; {
		i := bytes.Index(text[from:], secret)
		if i < 0 {
			return append(out, text[from:]...)
		}
		begin, end := from+i, from+i+len(secret)
		out = append(out, text[from:begin]...)
		if word(begin-1) || word(end) {
			out = append(out, secret...)
		} else {
			out = append(out, hidden...)
		}
		from = end
	}
}

func (s *scrubber) bytes(text []byte) []byte {
	for _, k := range s.known {
		if len(k) < anywhere {
			text = replaceWords(text, k)
			continue
		}
		text = bytes.ReplaceAll(text, k, []byte(hidden))
	}
	text = privateKey.ReplaceAll(text, []byte(hidden))
	text = keyed.ReplaceAllFunc(text, func(m []byte) []byte {
		parts := keyed.FindSubmatch(m)
		name, value := parts[1], parts[2]
		// A count or a truth is no secret: metrics and state are full of names such as token_errors.
		if bare := strings.Trim(string(value), `\"'`); bare == "" || harmless.MatchString(bare) {
			return m
		}
		quote := ""
		if value[0] == '"' || value[0] == '\'' {
			quote = string(value[0])
		} else if bytes.HasPrefix(value, []byte(`\"`)) {
			quote = `\"`
		}
		return append(slices.Clone(name), quote+hidden+quote...)
	})
	text = userinfo.ReplaceAll(text, []byte("${1}"+hidden+"@"))
	return awsKey.ReplaceAll(text, []byte(hidden))
}

// harmless are values that nobody would choose for a secret, and what was hidden before.
var harmless = regexp.MustCompile(`^([0-9.]{1,6}|true|false|null|none|default|\(hidden\).*|\(hidden)$`)

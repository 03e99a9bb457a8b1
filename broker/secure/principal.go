package secure

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Anonymous is who has shown no certificate, in Kafka's words.
const Anonymous = "User:ANONYMOUS"

// Principals turn certificates into names: ssl.principal.mapping.rules (KIP-371). The zero value is DEFAULT: the whole subject.
type Principals struct{ rules []rule }

type rule struct {
	pattern     *regexp.Regexp // nil: DEFAULT
	replacement string         // in Go's form
	fold        func(string) string
}

// ParsePrincipals reads rules: DEFAULT, or RULE:pattern/replacement/ with an L or U behind it, comma-separated. The first that
// fits the whole subject counts.
func ParsePrincipals(text string) (Principals, error) {
	var p Principals
	for rest := strings.TrimSpace(text); rest != ""; {
		if after, ok := strings.CutPrefix(rest, "DEFAULT"); ok {
			p.rules = append(p.rules, rule{})
			rest = after
		} else {
			r, after, err := parseRule(rest)
			if err != nil {
				return Principals{}, err
			}
			p.rules = append(p.rules, r)
			rest = after
		}
		rest = strings.TrimSpace(rest)
		if rest == "" {
			break
		}
		if rest[0] != ',' {
			return Principals{}, fmt.Errorf("%q: a comma belongs between two rules", rest)
		}
		rest = strings.TrimSpace(rest[1:])
	}
	return p, nil
}

// parseRule reads RULE:pattern/replacement/[LU]. Neither part has a slash in it that is not escaped.
func parseRule(text string) (rule, string, error) {
	rest, ok := strings.CutPrefix(text, "RULE:")
	if !ok {
		return rule{}, "", fmt.Errorf("%q is neither DEFAULT nor RULE:pattern/replacement/[LU]", text)
	}
	pattern, rest, ok1 := cutSlash(rest)
	replacement, rest, ok2 := cutSlash(rest)
	if !ok1 || !ok2 {
		return rule{}, "", fmt.Errorf("%q is no RULE:pattern/replacement/[LU]", text)
	}
	// Kafka matches the whole subject, and writes groups $1, \$ for a dollar.
	if _, err := regexp.Compile(pattern); err != nil { // alone: within the group, a)|(b would be one
		return rule{}, "", fmt.Errorf("%q: %w", text, err)
	}
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return rule{}, "", fmt.Errorf("%q: %w", text, err)
	}
	r := rule{pattern: re, replacement: groups.ReplaceAllString(replacement, "$${$1}"), fold: func(s string) string { return s }}
	switch {
	case strings.HasPrefix(rest, "L"):
		r.fold, rest = strings.ToLower, rest[1:]
	case strings.HasPrefix(rest, "U"):
		r.fold, rest = strings.ToUpper, rest[1:]
	}
	return r, rest, nil
}

var groups = regexp.MustCompile(`\$(\d)`)

// cutSlash cuts at the first slash that has no backslash before it.
func cutSlash(s string) (before, after string, ok bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '/':
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// ErrNoPrincipal says that no rule fits a certificate's subject.
var ErrNoPrincipal = errors.New("no rule of ssl.principal.mapping.rules fits the certificate")

// Of names a certificate's owner, "User:" before it; Anonymous for nil.
func (p Principals) Of(c *x509.Certificate) (string, error) {
	if c == nil {
		return Anonymous, nil
	}
	subject := Subject(c)
	if len(p.rules) == 0 {
		return "User:" + subject, nil
	}
	for _, r := range p.rules {
		if r.pattern == nil {
			return "User:" + subject, nil
		}
		if m := r.pattern.FindStringSubmatchIndex(subject); m != nil {
			return "User:" + r.fold(string(r.pattern.ExpandString(nil, r.replacement, subject, m))), nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrNoPrincipal, subject)
}

// Subject is a certificate's distinguished name as RFC 2253 writes it, which is how Kafka names principals.
func Subject(c *x509.Certificate) string {
	var names pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &names); err != nil || len(rest) > 0 {
		return c.Subject.String()
	}
	return names.String()
}

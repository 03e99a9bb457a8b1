package regex

import (
	"fmt"
	"strings"
	"testing"
)

// An expression of few bytes could come to millions of states, or to thousands that are tried at every letter; or one that people write would be refused.
func TestCheck(t *testing.T) {
	var names []string
	for i := range 180 {
		names = append(names, fmt.Sprintf("prod\\.orders-%03d", i))
	}
	var prefixes []string
	for i := range 200 {
		prefixes = append(prefixes, fmt.Sprintf("^team%03d\\.(.*)", i))
	}
	for s, ok := range map[string]bool{
		strings.Join(prefixes, "|"):            true,
		strings.Repeat("a.*|b.*|", 33) + "c":   false, // all of one letter go on together
		strings.Repeat(".*a|", 33) + "b":       false,
		"":                                     true,
		"a.*":                                  true,
		`(prod|test)\.[a-z0-9-]+\.v[0-9]{1,3}`: true,
		"(?i)Orders":                           true,
		strings.Join(names, "|"):               true,
		"[a-z]{1,40}-[0-9]{6}":                 true,
		"[a-f0-9]{8}(-[a-f0-9]{4}){3}":         true,
		".{0,999}":                             false,
		strings.Repeat(".{0,999}", 500):        false,
		strings.Repeat("(?:a{10}){10}", 40):    true,
		strings.Repeat("(?:a{10}){10}", 41):    false,
		strings.Repeat(".?", 33):               false,
		"((a?){8}){5}":                         false,
		"[a-z]{1,200}":                         true,
		"[a-z]{1,200}-[0-9]{1,200}":            false,
		"(?:a{3,}b){10}":                       true,
		"((a{1,2}){1,2}){1,2}":                 true,
		"(((((a*)*)*)*)*)*":                    true,
		strings.Repeat("a", MaxBytes):          true,
		strings.Repeat("a", MaxBytes+1):        false,
		"a)|(?:b":                              false,
		"(":                                    false,
		"a{1001}":                              false,
	} {
		err := Check(s)
		if (err == nil) != ok {
			t.Errorf("%.40q (%d bytes): %v", s, len(s), err)
		}
		if err == nil {
			if _, err := Whole(s); err != nil {
				t.Errorf("%.40q: %v", s, err)
			}
		}
	}
}

// Of a longer name a part would do.
func TestWhole(t *testing.T) {
	re, err := Whole("a|b")
	if err != nil || !re.MatchString("a") || !re.MatchString("b") || re.MatchString("ab") || re.MatchString("ca") {
		t.Errorf("%v, %v", re, err)
	}
	if re, err := Whole("a)|(?:b"); err == nil {
		t.Errorf("%v closes a parenthesis that is not its own", re)
	}
}

// How long the worst that is taken takes for a thousand names.
func BenchmarkWorst(b *testing.B) {
	for name, s := range map[string]string{
		"optional": strings.Repeat(".{0,8}", 32),
		"branches": strings.Repeat("[^q]{30}|[^r]{30}|", 67) + "[^q]{30}",
		"anywhere": strings.Repeat(".*[^q]{36}|", 31) + ".*[^r]{36}",
	} {
		b.Run(name, func(b *testing.B) {
			if err := Check(s); err != nil {
				b.Fatal(err)
			}
			re, err := Whole(s)
			if err != nil {
				b.Fatal(err)
			}
			topic := strings.Repeat("topic-name", 4)
			for b.Loop() {
				for range 1000 {
					re.MatchString(topic)
				}
			}
		})
	}
}

package main

import (
	"strings"
	"testing"
	"time"
)

// Every form of -o is read as the help says, and what is none of them is refused.
func TestParseSpan(t *testing.T) {
	at := func(kind pointKind, n int64) *point { return &point{kind, n} }
	const day1, day2 = 1767225600000, 1767312000000
	for text, want := range map[string]span{
		"start":                             {from: point{atStart, 0}},
		"end":                               {from: point{atEnd, 0}},
		"500":                               {from: point{atOffset, 500}},
		"+10":                               {from: point{afterStart, 10}},
		"-10":                               {from: point{beforeEnd, 10}},
		":end":                              {from: point{atStart, 0}, to: at(atEnd, 0)},
		":7":                                {from: point{atStart, 0}, to: at(atOffset, 7)},
		"100:200":                           {from: point{atOffset, 100}, to: at(atOffset, 200)},
		"100:+20":                           {from: point{atOffset, 100}, length: 20},
		"-10:end":                           {from: point{beforeEnd, 10}, to: at(atEnd, 0)},
		"@2026-01-01":                       {from: point{atTime, day1}},
		"@1767225600000":                    {from: point{atTime, day1}},
		"@1767225600":                       {from: point{atTime, day1}},
		"@2026-01-01:2026-01-02":            {from: point{atTime, day1}, to: at(atTime, day2)},
		"@2026-01-01T00:00:00Z:@2026-01-02": {from: point{atTime, day1}, to: at(atTime, day2)},
		"@2026-01-01T00:00:00Z":             {from: point{atTime, day1}},
		"@2026-01-01 00:00:00:end":          {from: point{atTime, day1}, to: at(atEnd, 0)},
		"@2026-01-01:+5":                    {from: point{atTime, day1}, length: 5},
		"@2026-01-01:1767312000":            {from: point{atTime, day1}, to: at(atTime, day2)},
	} {
		got, err := parseSpan(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		same := got.from == want.from && got.length == want.length && (got.to == nil) == (want.to == nil) && (got.to == nil || *got.to == *want.to)
		if !same {
			t.Errorf("%s: %+v to %+v, want %+v to %+v", text, got, got.to, want, want.to)
		}
	}
	for _, text := range []string{"", "middle", "1.5", "--1", "1:2:3", "1:+0", "1:+x", "@", "@12", "@tomorrow", "@2026-13-01", "1:x", "99999999999999999999", "10:5", "@2026-01-02:2026-01-01"} {
		if got, err := parseSpan(text); err == nil {
			t.Errorf("%q was taken as %+v", text, got)
		}
	}
}

// A span of time counts from now.
func TestParseTimeFromNow(t *testing.T) {
	now := time.UnixMilli(10_000_000)
	for text, want := range map[string]int64{"-1h30m": 10_000_000 - 5_400_000, "1s": 10_001_000} {
		if got, err := parseTime(text, now); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
}

// No text makes the parser panic, and what it takes begins with a known kind of point.
func FuzzParseSpan(f *testing.F) {
	for _, s := range []string{"start", ":end", "@1:2", "@-1h:-30m", "1:+2", "@2026-01-01T00:00:00Z:end", ":", "@:", "+", "-", "@@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := parseSpan(s)
		if err == nil && (x.length < 0 || x.from.kind < atStart || x.from.kind > atTime || x.from.kind != atTime && x.from.n < 0) {
			t.Fatalf("%q: %+v", s, x)
		}
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Fatal("an error without words")
		}
	})
}

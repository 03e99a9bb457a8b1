package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// point is one place in every partition of a topic:
//
//	start, end     the first offset, the one after the last
//	123            that offset
//	+10, -10       so many after the start, before the end
//	@TIME          the first record at or after a time
type point struct {
	kind pointKind
	n    int64 // offset, distance, or milliseconds since 1970
}

type pointKind int8

const (
	atStart pointKind = iota
	atEnd
	atOffset
	afterStart
	beforeEnd
	atTime
)

func parsePoint(s string) (point, error) {
	switch s {
	case "start":
		return point{kind: atStart}, nil
	case "end":
		return point{kind: atEnd}, nil
	case "":
		return point{}, errors.New("must not be empty")
	}
	if text, ok := strings.CutPrefix(s, "@"); ok {
		ms, err := parseTime(text, time.Now())
		return point{atTime, ms}, err
	}
	kind, digits := atOffset, s
	switch s[0] {
	case '+':
		kind, digits = afterStart, s[1:]
	case '-':
		kind, digits = beforeEnd, s[1:]
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return point{}, errors.New("must be start, end, an offset, +N, -N, or @TIME")
	}
	return point{kind, int64(n)}, nil
}

// timeLayouts are the forms of a time, without a zone taken as UTC.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"}

// parseTime reads a time as milliseconds: 13 digits of milliseconds, 10 of
// seconds, a date or a date and time, or a span counted from now (-1h30m).
func parseTime(s string, now time.Time) (int64, error) {
	if n, err := strconv.ParseUint(s, 10, 63); err == nil {
		switch len(s) {
		case 13:
			return int64(n), nil
		case 10:
			return int64(n) * 1000, nil
		}
		return 0, fmt.Errorf("%q must have 13 digits (milliseconds) or 10 (seconds)", s)
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(d).UnixMilli(), nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%q is no time: write 1767225600000, 2026-01-01, 2026-01-01T12:00:00Z, or -1h", s)
}

// resolve finds the point's offset in every partition of the topic.
func (p point) resolve(ctx context.Context, adm *kadm.Client, topic string) (map[int32]int64, error) {
	if _, err := findTopic(ctx, adm, topic); err != nil {
		return nil, err
	}
	starts, err := listed(topic)(adm.ListStartOffsets(ctx, topic))
	if err != nil {
		return nil, err
	}
	if p.kind == atStart {
		return starts, nil
	}
	ends, err := listed(topic)(adm.ListEndOffsets(ctx, topic))
	if err != nil {
		return nil, err
	}
	var times map[int32]int64
	if p.kind == atTime {
		if times, err = listed(topic)(adm.ListOffsetsAfterMilli(ctx, p.n, topic)); err != nil {
			return nil, err
		}
	}
	to := make(map[int32]int64, len(ends))
	for id, end := range ends {
		start, at := starts[id], end
		switch p.kind {
		case atOffset:
			at = p.n
		case afterStart:
			at = start + p.n
		case beforeEnd:
			at = end - p.n
		case atTime:
			if t, ok := times[id]; ok && t >= 0 {
				at = t
			}
		}
		to[id] = min(max(at, start), end)
	}
	return to, nil
}

// listed turns a ListOffsets answer into offsets by partition.
func listed(topic string) func(kadm.ListedOffsets, error) (map[int32]int64, error) {
	return func(l kadm.ListedOffsets, err error) (map[int32]int64, error) {
		if err != nil {
			return nil, fmt.Errorf("list offsets of %s: %w", topic, err)
		}
		m := map[int32]int64{}
		for id, o := range l[topic] {
			if o.Err != nil {
				return nil, fmt.Errorf("list offsets of %s/%d: %w", topic, id, o.Err)
			}
			m[id] = o.Offset
		}
		return m, nil
	}
}

// span is a range of a topic, as consume -o has it: FROM, FROM:TO, :TO.
type span struct {
	from point
	to   *point // nil: for ever
	// length bounds FROM:+N, records of each partition after FROM.
	length int64
}

// parseSpan reads rpk's grammar:
//
//	start, end, 100, +10, -10, @TIME     from there on, for ever
//	:end, :100                           from the start to there
//	100:200, 100:end, -10:end, 100:+20   from one to the other
//	@T1:T2, @T1:end                      from one time to the other
func parseSpan(s string) (span, error) {
	from, to, ranged := s, "", false
	if strings.HasPrefix(s, "@") {
		from, to, ranged = cutTimes(s)
	} else {
		from, to, ranged = strings.Cut(s, ":")
	}
	var x span
	var err error
	if from == "" && ranged {
		from = "start"
	}
	if x.from, err = parsePoint(from); err != nil || !ranged {
		return x, err
	}
	if n, ok := strings.CutPrefix(to, "+"); ok {
		length, err := strconv.ParseUint(n, 10, 63)
		if err != nil || length == 0 {
			return x, fmt.Errorf("%q must be +N, a number of records", to)
		}
		x.length = int64(length)
		return x, nil
	}
	if x.from.kind == atTime && to != "end" && !strings.HasPrefix(to, "@") {
		to = "@" + to
	}
	end, err := parsePoint(to)
	x.to = &end
	if err == nil && end.kind == x.from.kind && (end.kind == atOffset || end.kind == atTime) && end.n < x.from.n {
		return x, errors.New("ends before it begins")
	}
	return x, err
}

// cutTimes splits @T1:T2, where times themselves may hold colons: at the first
// colon before which there is a whole time.
func cutTimes(s string) (from, to string, ranged bool) {
	for i := range s {
		if s[i] != ':' {
			continue
		}
		if _, err := parseTime(s[1:i], time.Time{}); err != nil {
			continue
		}
		rest := s[i+1:]
		if _, err := parseTime(strings.TrimPrefix(rest, "@"), time.Time{}); err == nil || rest == "end" || strings.HasPrefix(rest, "+") {
			return s[:i], rest, true
		}
	}
	return s, "", false
}

// bounds are where reading a partition begins and, unless endless, ends.
type bounds struct {
	from, to int64
	endless  bool
}

// resolve finds the bounds in every partition.
func (x span) resolve(ctx context.Context, adm *kadm.Client, topic string) (map[int32]bounds, error) {
	from, err := x.from.resolve(ctx, adm, topic)
	if err != nil {
		return nil, err
	}
	m := make(map[int32]bounds, len(from))
	for id, f := range from {
		m[id] = bounds{from: f, to: f + x.length, endless: x.to == nil && x.length == 0}
	}
	if x.to == nil {
		return m, nil
	}
	var to map[int32]int64
	if x.to.kind == atOffset {
		// An offset that does not exist yet is waited for, not cut to today's end.
		to = map[int32]int64{}
		for id := range from {
			to[id] = x.to.n
		}
	} else if to, err = x.to.resolve(ctx, adm, topic); err != nil {
		return nil, err
	}
	for id, b := range m {
		b.to = to[id]
		m[id] = b
	}
	return m, nil
}

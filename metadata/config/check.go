package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// checkType tells whether value can be read as t.
func checkType(t Type, value string) error {
	switch t {
	case Boolean:
		if value != "true" && value != "false" {
			return errors.New("true or false")
		}
	case Int, Short, Long:
		bits := map[Type]int{Short: 16, Int: 32, Long: 64}[t]
		if _, err := strconv.ParseInt(value, 10, bits); err != nil {
			return fmt.Errorf("a whole number of %d bits", bits)
		}
	case Double:
		if f, err := strconv.ParseFloat(value, 64); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return errors.New("a number")
		}
	}
	return nil
}

// rule is a check with its description, to be put into a Key.
type rule struct {
	valid string
	check func(string) error
}

// between allows low to high, both included.
func between(low, high int64) rule {
	words := fmt.Sprintf("between %d and %d", low, high)
	switch {
	case high == math.MaxInt64 || high == math.MaxInt32:
		words = fmt.Sprintf("at least %d", low)
	case low == math.MinInt64:
		words = fmt.Sprintf("at most %d", high)
	}
	return rule{words, func(v string) error {
		if n, err := strconv.ParseInt(v, 10, 64); err != nil || n < low || n > high {
			return errors.New(words)
		}
		return nil
	}}
}

func atLeast(low int64) rule { return between(low, math.MaxInt64) }

// positive allows numbers above zero.
func positive() rule {
	const words = "a number above 0"
	return rule{words, func(v string) error {
		if f, err := strconv.ParseFloat(v, 64); err != nil || f <= 0 {
			return errors.New(words)
		}
		return nil
	}}
}

func fraction() rule {
	const words = "between 0 and 1"
	return rule{words, func(v string) error {
		if f, err := strconv.ParseFloat(v, 64); err != nil || f < 0 || f > 1 {
			return errors.New(words)
		}
		return nil
	}}
}

// oneOf allows the given words.
func oneOf(words ...string) rule {
	text := strings.Join(words, ", ")
	if n := len(words); n > 1 {
		text = strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return rule{text, func(v string) error {
		if !slices.Contains(words, v) {
			return errors.New(text)
		}
		return nil
	}}
}

// either allows what one of two rules allows (gzip levels: 1 to 9, or -1).
func either(a, b rule) rule {
	words := a.valid + ", or " + b.valid
	return rule{words, func(v string) error {
		if a.check(v) == nil || b.check(v) == nil {
			return nil
		}
		return errors.New(words)
	}}
}

// Cleanup policies.
const (
	policyDelete  = "delete"
	policyCompact = "compact"
)

// cleanupPolicy allows delete, compact, both, and none (KIP-1161).
func cleanupPolicy() rule {
	const words = `"delete", "compact", "compact,delete", or empty`
	return rule{words, func(v string) error {
		for _, p := range SplitList(v) {
			if p != policyDelete && p != policyCompact {
				return errors.New(words)
			}
		}
		return nil
	}}
}

// throttledReplicas is "*", empty, or partition:broker pairs.
func throttledReplicas() rule {
	const words = `"*", or a list of partition:broker pairs`
	return rule{words, func(v string) error {
		for _, pair := range SplitList(v) {
			if pair == "*" {
				continue
			}
			p, b, ok := strings.Cut(pair, ":")
			_, err1 := strconv.ParseUint(p, 10, 31)
			_, err2 := strconv.ParseUint(b, 10, 31)
			if !ok || err1 != nil || err2 != nil {
				return errors.New(words)
			}
		}
		return nil
	}}
}

// ThrottledReplicas are the replicas that a topic's list of throttled ones names.
type ThrottledReplicas struct {
	all   bool
	pairs map[[2]int32]bool // partition, broker
}

// ParseThrottledReplicas reads a value that its key allows; what it does not is passed over.
func ParseThrottledReplicas(v string) (t ThrottledReplicas) {
	t.pairs = map[[2]int32]bool{}
	for _, pair := range SplitList(v) {
		if pair == "*" {
			t.all = true
			continue
		}
		p, b, _ := strings.Cut(pair, ":")
		partition, err1 := strconv.ParseInt(p, 10, 32)
		broker, err2 := strconv.ParseInt(b, 10, 32)
		if err1 == nil && err2 == nil {
			t.pairs[[2]int32{int32(partition), int32(broker)}] = true
		}
	}
	return t
}

// Has tells whether a partition's replica on a broker is named.
func (t ThrottledReplicas) Has(partition, broker int32) bool {
	return t.all || t.pairs[[2]int32{partition, broker}]
}

// hostPort allows HOST:PORT; empty too where optional.
func hostPort(optional bool) rule {
	words := "HOST:PORT, for example 127.0.0.1:9644"
	if optional {
		words += `, or empty`
	}
	return rule{words, func(v string) error {
		if v == "" && optional {
			return nil
		}
		if err := checkHostPort(v); err != nil {
			return errors.New(words)
		}
		return nil
	}}
}

func checkHostPort(v string) error {
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		return err
	}
	if strings.ContainsAny(host, " \t/@") {
		return fmt.Errorf("bad host %q", host)
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err
}

// notEmpty allows any text but none.
func notEmpty(what string) rule {
	return rule{what, func(v string) error {
		if strings.TrimSpace(v) == "" {
			return errors.New(what)
		}
		return nil
	}}
}

// clusterID allows Kafka's form (22 characters of URL-safe base64) and anything like it that is safe in an object's key.
func clusterID() rule {
	const words = "up to 64 of the characters A-Z a-z 0-9 _ -"
	return rule{words, func(v string) error {
		if len(v) > 64 {
			return errors.New(words)
		}
		for _, c := range v {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
				return errors.New(words)
			}
		}
		return nil
	}}
}

// bucketURL allows what tier/object opens; that package has the last word on the details.
func bucketURL() rule {
	const words = "dir:PATH, s3://NAME?endpoint=…, minio://NAME?endpoint=…, mem: or empty"
	return rule{words, func(v string) error {
		if v == "" || v == "mem:" || strings.HasPrefix(v, "dir:") && len(v) > len("dir:") {
			return nil
		}
		u, err := url.Parse(v)
		if err != nil || (u.Scheme != "s3" && u.Scheme != "minio") || u.Host == "" {
			return errors.New(words)
		}
		if u.User != nil {
			return errors.New(words + ", without credentials: those come from the environment")
		}
		return nil
	}}
}

// singleDir allows one directory: a broker flushes one volume as a whole.
func singleDir() rule {
	const words = "one directory (Qanat keeps all data on one volume)"
	return rule{words, func(v string) error {
		if len(SplitList(v)) > 1 {
			return errors.New(words)
		}
		return nil
	}}
}

// SplitList splits a list value at its commas; blanks around items and empty items are dropped.
func SplitList(v string) []string {
	var items []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// offsetReset is share.auto.offset.reset's syntax (KIP-932, KIP-1106).
func offsetReset() rule {
	const words = "latest, earliest, or by_duration:PnDTnHnMnS"
	return rule{words, func(v string) error {
		if v == "latest" || v == "earliest" {
			return nil
		}
		if d := trimDuration(v); isoDuration.MatchString(d) && d != "P" && !strings.HasSuffix(d, "T") {
			return nil
		}
		return errors.New(words)
	}}
}

// trimDuration is what stands behind by_duration:, "" where that does not.
func trimDuration(v string) string {
	d, _ := strings.CutPrefix(v, "by_duration:")
	if d == v {
		return ""
	}
	return d
}

// isoDuration has four numbers: days, hours, minutes, seconds.
var isoDuration = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

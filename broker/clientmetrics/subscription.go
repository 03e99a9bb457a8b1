package clientmetrics

import (
	"cmp"
	"hash/crc32"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
)

// subscription is of which clients which metrics are wanted.
type subscription struct {
	metrics  []string
	interval time.Duration
	match    map[string]*regexp.Regexp
}

// all is the prefix that clients are told for "*": every name has it.
const all = ""

// defaultInterval is told to clients that nothing is wanted of: when to ask again.
const defaultInterval = 5 * time.Minute

// subscriptionsOf reads those of an image.
func subscriptionsOf(m *image.Image) []subscription {
	var list []subscription
	for _, name := range m.ConfigNames(command.ClientMetrics) {
		set := m.Configs(command.ClientMetrics, name)
		match, err := config.ParseClientMatch(set["match"])
		if err != nil {
			continue // of a release with other rules: better none than everybody's
		}
		s := subscription{metrics: config.SplitList(set["metrics"]), interval: defaultInterval, match: match}
		if ms, err := strconv.Atoi(set["interval.ms"]); err == nil {
			s.interval = time.Duration(ms) * time.Millisecond
		}
		if slices.Contains(s.metrics, "*") {
			s.metrics = []string{all}
		}
		list = append(list, s)
	}
	return list
}

// matches tells whether the subscription is for the client.
func (s *subscription) matches(c *Client) bool {
	for what, pattern := range s.match {
		if !pattern.MatchString(c.selector(what)) {
			return false
		}
	}
	return true
}

// selector is what a subscription may pick the client by.
func (c *Client) selector(what string) string {
	switch what {
	case "client_instance_id":
		return c.Instance.String()
	case "client_id":
		return c.ID
	case "client_software_name":
		return c.Software
	case "client_software_version":
		return c.SoftwareVersion
	case "client_source_address":
		return c.Address
	}
	return strconv.Itoa(c.Port)
}

// wanted is what all subscriptions that match a client want of it.
func wanted(list []subscription, c *Client) Wanted {
	w := Wanted{Interval: time.Duration(math.MaxInt64)}
	for i := range list {
		if s := &list[i]; len(s.metrics) > 0 && s.matches(c) {
			w.Metrics = append(w.Metrics, s.metrics...)
			w.Interval = min(w.Interval, s.interval)
		}
	}
	if len(w.Metrics) == 0 {
		w.Interval = defaultInterval
	}
	slices.Sort(w.Metrics)
	if w.Metrics = slices.Compact(w.Metrics); slices.Contains(w.Metrics, all) {
		w.Metrics = []string{all}
	}
	// A client that finds another number asks anew, so it must follow what it stands for, on every broker alike.
	text := strings.Join(w.Metrics, ",") + " " + w.Interval.String() + " " + c.Instance.String()
	w.Subscription = int32(crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
	w.Subscription = cmp.Or(w.Subscription, 1)
	return w
}

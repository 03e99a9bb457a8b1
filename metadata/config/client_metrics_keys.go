package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// clientMetricsKeys are the keys of a client metrics subscription (KIP-714).
func clientMetricsKeys() []Key {
	return []Key{
		define("metrics", List, "",
			"Prefixes of the names of the metrics that clients are to send; `*` for all. Without any, none are."),
		define("interval.ms", Int, number(5*minute),
			"How often clients send them. Of several subscriptions that match a client, the shortest counts.",
			allow(between(100, hour))),
		define("match", List, "",
			"Which clients: `what=pattern` pairs, all of which must hold. What is "+strings.Join(ClientSelectors, ", ")+"; the pattern is a regular expression (RE2) for the whole value. Without any, all clients.",
			allow(clientMatch())),
	}
}

// ClientSelectors are what a client metrics subscription may pick clients by.
var ClientSelectors = []string{"client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"}

func clientMatch() rule {
	return rule{"selector=pattern pairs", func(v string) error {
		_, err := ParseClientMatch(v)
		return err
	}}
}

// ParseClientMatch reads the value of match.
func ParseClientMatch(v string) (map[string]*regexp.Regexp, error) {
	m := map[string]*regexp.Regexp{}
	for _, pair := range SplitList(v) {
		what, pattern, ok := strings.Cut(pair, "=")
		what, pattern = strings.TrimSpace(what), strings.TrimSpace(pattern)
		switch {
		case !ok || pattern == "":
			return nil, fmt.Errorf("selector=pattern pairs, which %q is not", pair)
		case !slices.Contains(ClientSelectors, what):
			return nil, fmt.Errorf("selector=pattern pairs with a selector of %v, not %q", ClientSelectors, what)
		case m[what] != nil:
			return nil, fmt.Errorf("selector=pattern pairs with each selector once, not %q again", what)
		}
		_, alone := regexp.Compile(pattern) // within the group, a)|(b would be a pattern
		re, err := regexp.Compile(`^(?:` + pattern + `)$`)
		if err = cmp.Or(alone, err); err != nil {
			return nil, fmt.Errorf("selector=pattern pairs with patterns of RE2: %w", err)
		}
		m[what] = re
	}
	return m, nil
}

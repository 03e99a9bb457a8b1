package consumer

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/regex"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// pattern is a regular expression of some members, with the topics that it matches: looked for once, whenever the topics have changed.
type pattern struct {
	re     *regexp.Regexp
	topics []kafka.TopicID
}

// CheckRegex tells whether a regular expression (RE2, as Kafka's) may be a member's; "" is none.
func (l *Limits) CheckRegex(s string) error {
	if err := regex.Check(s); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidRegex, err)
	}
	return nil
}

// learn brings a regular expression, which was checked, into the group.
func (g *Group) learn(s string) error {
	if s == "" || g.patterns[s] != nil {
		return nil
	}
	if len(g.patterns) >= g.limits.MaxRegexes {
		if g.forget(); len(g.patterns) >= g.limits.MaxRegexes {
			return fmt.Errorf("%w: the group has %d others, which is the most", ErrInvalidRegex, len(g.patterns))
		}
	}
	re, err := regex.Whole(s)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidRegex, err)
	}
	if g.patterns == nil {
		g.patterns = map[string]*pattern{}
	}
	p := &pattern{re: re}
	p.match(g.topics)
	g.patterns[s] = p
	return nil
}

// forget drops the patterns that nobody has any more.
func (g *Group) forget() {
	used := map[string]bool{}
	for _, m := range g.order {
		used[m.regex] = true
	}
	for s := range g.patterns {
		if !used[s] {
			delete(g.patterns, s)
		}
	}
}

func (p *pattern) match(topics image.Topics) {
	p.topics = nil
	if topics == (image.Topics{}) {
		return
	}
	topics.Each(func(t *image.Topic) bool {
		if p.re.MatchString(t.Name) {
			p.topics = append(p.topics, t.ID)
		}
		return true
	})
}

// resolve is what a member's subscription comes to.
func (g *Group) resolve(m *member) []kafka.TopicID {
	if g.topics == (image.Topics{}) {
		return nil // look does it
	}
	var ids []kafka.TopicID
	for _, name := range m.names {
		if t, ok := g.topics.ByName(name); ok {
			ids = append(ids, t.ID)
		}
	}
	if m.regex != "" {
		ids = append(ids, g.patterns[m.regex].topics...)
	}
	return assign.SortTopics(ids)
}

// look takes in the topics that there are, and begins an epoch when those that are subscribed to are not what they were. While the topics are the
// same it costs a comparison.
func (g *Group) look(topics image.Topics) {
	if topics != g.topics {
		g.topics = topics
		g.forget()
		for _, p := range g.patterns {
			p.match(topics)
		}
		for _, m := range g.order {
			m.topics = g.resolve(m)
		}
	} else if g.epoch == g.target {
		return
	}
	if h := g.hash(); h != g.topicHash {
		g.topicHash, g.head = h, true
		g.bump()
	}
}

// hash is of the topics that are subscribed to, and how many partitions each has.
func (g *Group) hash() uint64 {
	var ids []kafka.TopicID
	for i, m := range g.order {
		if i == 0 || !slices.Equal(m.topics, g.order[i-1].topics) {
			ids = append(ids, m.topics...)
		}
	}
	return assign.Hash(ids, g.partitions)
}

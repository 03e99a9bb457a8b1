package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Error is something that could not be done: Kafka's code where a broker has answered with one, what it said, and what to do.
type Error struct {
	What      string // an infinitive, as in: cannot WHAT
	Text      string // what the broker said beside its code
	Hint      string // sentences; "" where the code's own is all there is
	Err       error
	Unreached bool // nobody has answered at all
}

func (e *Error) Error() string {
	text := e.Summary()
	if d := e.Detail(); d != "" {
		text += ": " + d
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Summary is one line: what could not be done, and Kafka's code.
func (e *Error) Summary() string {
	text := "Cannot " + e.What
	var k *kerr.Error
	if errors.As(e.Err, &k) {
		text += fmt.Sprintf(": %s (%d)", k.Message, k.Code)
	}
	return text
}

// Detail is what the broker said, and the hint.
func (e *Error) Detail() string {
	var parts []string
	var k *kerr.Error
	answered := errors.As(e.Err, &k)
	switch {
	case e.Text != "":
		parts = append(parts, sentence(e.Text))
	case answered:
		parts = append(parts, sentence(k.Description))
	case errors.Is(e.Err, context.DeadlineExceeded):
		parts = append(parts, "There was no answer in time.")
	case e.Err != nil:
		parts = append(parts, sentence(e.Err.Error()))
	}
	hint := e.Hint
	if hint == "" && answered {
		hint = hints[k.Code]
	}
	if hint != "" {
		parts = append(parts, hint)
	}
	return strings.Join(parts, "\n\n")
}

func sentence(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}

// hints are what to do about a code, where nothing better is known of the place.
var hints = map[int16]string{
	kerr.InvalidConfig.Code:              "docs/configuration.md lists the keys of topics and brokers with their values; `qanat topic describe NAME -o wide` shows those of a topic.",
	kerr.InvalidReplicationFactor.Code:   "Lower replication_factor, or start more brokers: there must be as many that are active and not being drained. `qanat broker list` shows them.",
	kerr.InvalidPartitions.Code:          "Partitions can be added, never taken away.",
	kerr.InvalidTopicException.Code:      "A topic's name has at most 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-', and must not differ from another's only by '.' against '_'.",
	kerr.TopicAlreadyExists.Code:         "To manage a topic that exists, import it: terraform import ADDRESS NAME.",
	kerr.UnknownTopicOrPartition.Code:    "It may have been deleted meanwhile: run terraform plan again.",
	kerr.NotController.Code:              "The metadata quorum has no leader: nothing can be changed. `qanat quorum status` shows who is missing; apply again when it is back.",
	kerr.NotEnoughReplicas.Code:          "Start the brokers that are down; `qanat cluster health` says what is wrong.",
	kerr.UnknownMemberID.Code:            "The group has members: stop its consumers, then apply again.",
	kerr.NonEmptyGroup.Code:              "The group has members: stop its consumers, then apply again.",
	kerr.CoordinatorNotAvailable.Code:    "Apply again in a moment: the group's coordinator is moving to another broker.",
	kerr.NotCoordinator.Code:             "Apply again in a moment: the group's coordinator is moving to another broker.",
	kerr.ClusterAuthorizationFailed.Code: "The provider's principal may not do this.",
	kerr.TopicAuthorizationFailed.Code:   "The provider's principal may not do this.",
	kerr.GroupAuthorizationFailed.Code:   "The provider's principal may not do this.",
	kerr.PolicyViolation.Code:            "The cluster does not allow it; its text says why.",
	kerr.UnsupportedVersion.Code:         "The broker does not serve this: upgrade it.",
	kerr.RequestTimedOut.Code:            "Whether it was done is not known: run terraform plan again, it looks.",
}

// failed is the Error for what a broker has answered, or for what kept it from answering; nil for nil.
func failed(what string, err error, text *string, hint ...string) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	e = &Error{What: what, Err: err}
	if text != nil {
		e.Text = *text
	}
	if len(hint) > 0 {
		e.Hint = hint[0]
	}
	var k *kerr.Error
	if e.Hint == "" && !errors.As(err, &k) {
		e.Hint = "A broker may have gone down: `qanat cluster health` says what is wrong. What was not done is done by the next terraform apply."
	}
	return e
}

// coded is failed for a response's code.
func coded(what string, code int16, text *string, hint ...string) error {
	return failed(what, kerr.ErrorForCode(code), text, hint...)
}

// Is tells whether err is Kafka's error k.
func Is(err error, k *kerr.Error) bool { return errors.Is(err, k) }

// Unreachable tells whether nobody has answered.
func Unreachable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unreached
}

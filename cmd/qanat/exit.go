package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Exit codes. They are a contract with scripts: codes are added, never changed.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitConfig      = 3
	exitUnreachable = 4
	exitNotFound    = 5
	exitRefused     = 6
	exitDeclined    = 7
	exitDamaged     = 8
	exitUnhealthy   = 10
	exitInterrupted = 130
)

const exitCodesHelp = `Exit codes:

    0  done
    1  failed, for a reason that has no code of its own
    2  wrong usage: an unknown command or flag, or a missing argument
    3  the configuration is not valid
    4  no broker (or admin port) could be reached
    5  the named topic, group, transactional id, file or object does not exist
    6  the broker refused: the error is its answer
    7  not confirmed
    8  log dump, tier inspect, tier scrub, tier sweep: data is damaged, or missing
   10  cluster health, doctor: something is wrong
  130  interrupted
`

// failure is an error with an exit code and a way out.
type failure struct {
	code   int
	err    error
	remedy string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failf(code int, remedy, format string, args ...any) error {
	return &failure{code, fmt.Errorf(format, args...), remedy}
}

// exitCode finds the code of an error.
func exitCode(err error) int {
	var f *failure
	var ke *kerr.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f):
		return f.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.TransactionalIDNotFound), errors.Is(err, kerr.UnknownTopicID):
		return exitNotFound
	case errors.As(err, &ke):
		return exitRefused
	case strings.HasPrefix(err.Error(), "unknown command "):
		return exitUsage
	}
	return exitFailed
}

// report prints an error as cause and remedy.
func report(w io.Writer, err error) {
	fmt.Fprintf(w, "error: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n       "))
	var f *failure
	if errors.As(err, &f) && f.remedy != "" {
		fmt.Fprintf(w, " hint: %s\n", strings.ReplaceAll(f.remedy, "\n", "\n       "))
	}
}

// usageOf gives what cobra says of missing or conflicting flags its exit code
// and a way out: cobra marks these errors with their words alone.
func usageOf(cmd *cobra.Command, err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	if strings.HasPrefix(err.Error(), "required flag(s)") || strings.Contains(err.Error(), "flags in the group [") {
		return failf(exitUsage, "see "+cmd.CommandPath()+" --help", "%s: %w", cmd.CommandPath(), err)
	}
	return err
}

// plainFlagError is a flag's error without the name of the Go function that parsed it.
func plainFlagError(err error) string {
	text := err.Error()
	before, parse, found := strings.Cut(text, ": strconv.")
	if !found {
		return text
	}
	return before + parse[strings.LastIndex(parse, ": "):]
}

// wantArgs wraps cobra's argument rules, so that breaking them is wrong usage.
func wantArgs(rule cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := rule(cmd, args); err != nil {
			return failf(exitUsage, "see "+cmd.CommandPath()+" --help", "%s: %w", cmd.CommandPath(), err)
		}
		return nil
	}
}

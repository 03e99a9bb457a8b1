package command

import (
	"slices"
	"testing"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Who leaves an ISR that is too small for anything more to be acknowledged may lead; nobody does who left before something was, and nobody
// twice.
func TestNextELR(t *testing.T) {
	type ids = []kafka.BrokerID
	for _, c := range []struct {
		isr, next, elr ids
		minimum        int
		want           ids
	}{
		{isr: ids{1, 2, 3}, next: ids{1, 2}, minimum: 2},                         // acknowledged by two: 3 will lack something
		{isr: ids{1, 2}, next: ids{1}, minimum: 2, want: ids{2}},                 // nothing more is
		{isr: ids{1, 2, 3}, next: ids{1}, minimum: 2, want: ids{2, 3}},           // both left at once
		{isr: ids{1}, next: ids{1}, elr: ids{3, 2}, minimum: 2, want: ids{3, 2}}, // nothing happens: not another order either
		{isr: ids{1}, next: ids{1, 4}, elr: ids{3, 2}, minimum: 3, want: ids{3, 2}},
		{isr: ids{1}, next: ids{1, 3}, elr: ids{3, 2}, minimum: 3, want: ids{2}}, // in sync again
		{isr: ids{1}, next: ids{1, 3}, elr: ids{3, 2}, minimum: 2},               // acknowledged without 2 from now on
		{isr: ids{1, 2}, next: ids{1}, elr: ids{3}, minimum: 2, want: ids{2}},    // was acknowledged without 3
		{isr: ids{1, 4}, next: ids{1}, elr: ids{3, 2}, minimum: 3, want: ids{3, 2, 4}},
		{isr: ids{2}, next: ids{3}, elr: ids{3}, minimum: 2, want: ids{2}}, // an eligible one is elected
	} {
		if got := NextELR(c.isr, c.next, c.elr, c.minimum); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

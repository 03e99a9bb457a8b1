// Package regex compiles the regular expressions that clients send (RE2): of subscriptions, and of what ListTransactions is to list.
//
// RE2 takes time in proportion to what an expression comes to, not to how long it is written: a{1000} is a thousand states, and .?.?.? has
// all of its states tried at each letter. A heartbeat of 4 KiB could ask for minutes of a processor, and for a hundred megabytes, while the groups
// beside its own wait. So both are bounded, before anything is compiled.
package regex

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// What an expression may come to. The names of some hundred topics, one beside the other, fit, and so do the prefixes and suffixes that people write.
const (
	MaxBytes  = 4096
	maxStates = 4096 // with what is repeated written out
	maxForks  = 32   // repetitions of an open number (?, *, +, {n,m}), with what is repeated written out
	maxMay    = 256  // how often {n,m} may repeat beyond n, all together
)

// Check tells why an expression is not to be compiled; nil: it is.
func Check(s string) error {
	if len(s) > MaxBytes {
		return fmt.Errorf("%d bytes, at most %d", len(s), MaxBytes)
	}
	re, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return err
	}
	w := weigh(re)
	switch {
	case w.states > maxStates:
		return fmt.Errorf("it comes to more than %d characters when its repetitions are written out", maxStates)
	case w.forks > maxForks:
		return fmt.Errorf("it comes to more than %d repetitions of an open number (?, *, +, {n,m}) when they are written out", maxForks)
	case w.may > maxMay:
		return fmt.Errorf("its repetitions {n,m} come to more than %d beyond their least number", maxMay)
	}
	return nil
}

// Whole compiles an expression so that it matches whole names only.
func Whole(s string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(s); err != nil { // by itself: no parenthesis of its own may close ours
		return nil, err
	}
	return regexp.Compile(`^(?:` + s + `)$`)
}

// weight is what an expression comes to. The parser's own bounds (repetitions of 1,000, nested ones together) keep it far from overflowing.
type weight struct{ states, forks, may int }

func (w weight) plus(x weight) weight {
	return weight{w.states + x.states, w.forks + x.forks, w.may + x.may}
}

func weigh(re *syntax.Regexp) (w weight) {
	for _, sub := range re.Sub {
		w = w.plus(weigh(sub))
	}
	switch re.Op {
	case syntax.OpAlternate:
		w.forks, w.may = together(re.Sub)
	case syntax.OpLiteral:
		w.states = len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		w.states = 1
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		w.forks++
	case syntax.OpRepeat:
		times, may := re.Max, re.Max-re.Min
		if re.Max < 0 {
			times, may = re.Min+1, 0
		}
		w = weight{w.states * times, w.forks * times, w.may * times}
		if re.Max != re.Min {
			w.forks++
			w.may += may
		}
	}
	return w
}

// together is what of alternatives is tried at the same letter: of those that begin with letters of their own only such as a name can begin with at
// once, so that a list of many prefixes (orders\..*|users\..*|…) comes to no more than its heaviest.
func together(alternatives []*syntax.Regexp) (forks, may int) {
	type branch struct {
		prefix string
		weight // with that of the branches whose prefix it begins with
	}
	branches := make([]branch, len(alternatives))
	for i, re := range alternatives {
		branches[i] = branch{prefix(re), weigh(re)}
	}
	slices.SortFunc(branches, func(a, b branch) int { return strings.Compare(a.prefix, b.prefix) })
	var over []branch // those whose prefixes the one at hand begins with
	for _, b := range branches {
		for len(over) > 0 && !strings.HasPrefix(b.prefix, over[len(over)-1].prefix) {
			over = over[:len(over)-1]
		}
		if len(over) > 0 {
			b.weight = b.plus(over[len(over)-1].weight)
		}
		over = append(over, b)
		forks, may = max(forks, b.forks), max(may, b.may)
	}
	return forks, may
}

// prefix is what every name begins with that an expression matches, as far as its letters say so, whatever their case.
func prefix(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return strings.ToLower(string(re.Rune))
	case syntax.OpCapture:
		return prefix(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if sub.Op != syntax.OpBeginText && sub.Op != syntax.OpBeginLine {
				return prefix(sub)
			}
		}
	}
	return ""
}

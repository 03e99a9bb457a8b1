package history

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

var errShort = errors.New("too few arguments")

// words cuts a line into its words. After the first bad one err is set, and all that follows is zero.
type words struct {
	rest []byte
	err  error
}

func (w *words) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.rest = nil
}

// word is the next word, which may be empty.
func (w *words) word() (word []byte) {
	if i := bytes.IndexByte(w.rest, ' '); i >= 0 {
		word, w.rest = w.rest[:i], w.rest[i+1:]
		return word
	}
	word, w.rest = w.rest, nil
	return word
}

// number is a decimal integer.
func (w *words) number() int64 { return w.integer(w.word()) }

func (w *words) small() int32 {
	n := w.number()
	if n < math.MinInt32 || n > math.MaxInt32 {
		w.fail(fmt.Errorf("%d is out of range", n))
		return 0
	}
	return int32(n)
}

// op is an operation's name: a letter and a number.
func (w *words) op() (kind byte, n int32) {
	word := w.word()
	if len(word) < 2 {
		w.fail(errShort)
		return 0, 0
	}
	return word[0], w.natural(word[1:], word)
}

// value is process.number.
func (w *words) value() Value {
	word := w.word()
	process, n, ok := bytes.Cut(word, []byte{'.'})
	if !ok {
		w.fail(fmt.Errorf("%q is no value", word))
	}
	return ValueOf(w.natural(process, word), w.natural(n, word))
}

// list is "0,4,5", or "-" for nothing.
func (w *words) list() (all []int32) {
	word := w.word()
	if string(word) == "-" {
		return nil
	}
	for item := range bytes.SplitSeq(word, []byte{','}) {
		in := words{rest: item}
		if all = append(all, in.small()); in.err != nil {
			w.fail(in.err)
		}
	}
	return all
}

// natural is an integer that is not negative, a part of word.
func (w *words) natural(digits, word []byte) int32 {
	n := w.integer(digits)
	if n < 0 || n > math.MaxInt32 {
		w.fail(fmt.Errorf("%q is no operation or value", word))
		return 0
	}
	return int32(n)
}

func (w *words) integer(word []byte) int64 {
	if w.err != nil {
		return 0
	}
	n, err := integer(word)
	if err != nil {
		w.fail(err)
	}
	return n
}

func integer(word []byte) (int64, error) {
	if len(word) == 0 {
		return 0, errShort
	}
	negative := word[0] == '-'
	digits := word
	if negative {
		digits = word[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, fmt.Errorf("%q is no integer", word)
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is no integer", word)
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, nil
}

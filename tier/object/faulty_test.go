package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// False if: a fault does anything but what it says, or strikes other requests than its rule names.
func TestFaults(t *testing.T) {
	data := []byte("0123456789")
	cause := errors.New("cause")
	synctest.Test(t, func(t *testing.T) {
		mem := NewMem(time.Now)
		f := NewFaulty(mem)
		put := func(ctx context.Context, key string) error { return f.Put(ctx, key, bytes.NewReader(data), 10) }
		exists := func(key string) bool { _, err := mem.Head(t.Context(), key); return err == nil }
		within := func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), time.Second) }

		f.Add(Rule{Verb: Put, Prefix: "a", Skip: 1, Count: 1, Fault: Fault{Err: cause}})
		for i, want := range []error{nil, cause, nil} {
			if err := put(t.Context(), "a"+string(rune('0'+i))); !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("put %d: %v, want %v", i, err, want)
			}
		}
		if exists("a1") {
			t.Error("a refused put was made")
		}
		remove := f.Add(Rule{Verb: Put, Fault: Fault{After: cause}})
		if err := put(t.Context(), "b"); !errors.Is(err, cause) || !exists("b") {
			t.Errorf("lost answer: %v, exists %v", err, exists("b"))
		}
		remove()
		f.Add(Rule{Verb: Put, Prefix: "hang", Fault: Fault{Hang: true}})
		f.Add(Rule{Verb: Put, Prefix: "stall", Fault: Fault{Stall: true, Bytes: 4}})
		f.Add(Rule{Verb: Put, Prefix: "break", Fault: Fault{Break: true, Bytes: 4}})
		for _, key := range []string{"hang", "stall", "break"} {
			ctx, cancel := within()
			err := put(ctx, key)
			if (key == "break") != errors.Is(err, ErrBroken) || (key != "break") != errors.Is(err, context.DeadlineExceeded) || exists(key) {
				t.Errorf("%s: %v, exists %v", key, err, exists(key))
			}
			cancel()
		}

		for fault, want := range map[Fault]string{
			{}:                         "0123456789",
			{Truncate: true, Bytes: 4}: "0123",
			{Corrupt: true, Bytes: 4}:  "0123<56789",
			{Break: true, Bytes: 4}:    "0123!broken",
			{Stall: true, Bytes: 4}:    "0123!late",
		} {
			f.Clear()
			f.Add(Rule{Verb: Get, Match: func(key string) bool { return strings.HasSuffix(key, "b") }, Fault: fault})
			ctx, cancel := within()
			body, err := f.Get(ctx, "b", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			switch {
			case errors.Is(err, ErrBroken):
				got = append(got, "!broken"...)
			case errors.Is(err, context.DeadlineExceeded):
				got = append(got, "!late"...)
			case err != nil:
				t.Error(err)
			}
			if string(got) != want {
				t.Errorf("%+v: %q, want %q", fault, got, want)
			}
			cancel()
		}
		if c := f.Counts(); c.Puts != 7 || c.Gets != 5 {
			t.Errorf("counts %+v", c)
		}
	})
}

package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
)

// Metrics would not hear of a download, or of a failure, twice of one, or of what the caller itself has ended.
func TestObserver(t *testing.T) {
	mem := NewMem(time.Now)
	faulty := NewFaulty(mem)
	c := NewCounting(faulty)
	var heard []string
	c.Observe(func(verb Verb, took time.Duration, err error) {
		if took < 0 {
			t.Errorf("%s took %v", verb, took)
		}
		heard = append(heard, fmt.Sprint(verb, " ", err == nil))
	})
	expect := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(heard, want) {
			t.Errorf("%s: heard %q, want %q", what, heard, want)
		}
		heard = nil
	}
	ctx := t.Context()
	if err := c.Put(ctx, "k", bytes.NewReader([]byte("0123456789")), 10); err != nil {
		t.Fatal(err)
	}
	expect("put", "put true")
	body, err := c.Get(ctx, "k", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	expect("a body that was not read")
	if _, err := io.ReadAll(body); err != nil {
		t.Fatal(err)
	}
	if _, err := body.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	expect("get", "get true")
	faulty.Add(Rule{Verb: Get, Prefix: "k", Fault: Fault{Break: true, Bytes: 4}})
	if body, err = c.Get(ctx, "k", 0, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(body); err == nil {
		t.Error("a broken body was read")
	}
	expect("a broken body", "get false")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Get(ended, "none", 0, 1); err == nil {
		t.Error("got nothing")
	}
	expect("given up")
	enough := errors.New("enough")
	if err := c.List(ctx, "", func(Info) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	expect("a listing that was enough")
	faulty.Add(Rule{Verb: Delete, Prefix: "k", Fault: Fault{Err: ErrDenied}})
	if err := c.Delete(ctx, "k"); err == nil {
		t.Error("deleted")
	}
	expect("delete", "delete false")
}

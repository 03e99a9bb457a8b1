package command

import (
	"errors"
	"strings"
	"testing"
)

// A release would be told apart wrongly from the level that it supports: what knows of no levels would pass for supporting one.
func TestSplitLevel(t *testing.T) {
	for version, want := range map[string]struct {
		release string
		level   Level
	}{
		"":                                  {"", 0},
		"v1.2.3":                            {"v1.2.3", 0},
		WithLevel("v1.2.3", 1):              {"v1.2.3", 1},
		WithLevel("", 65535):                {"", 65535},
		WithLevel("v1+metadata.7-dirty", 2): {"v1+metadata.7-dirty", 2},
		"v1+metadata.x":                     {"v1+metadata.x", 0},
		"v1+metadata.-1":                    {"v1+metadata.-1", 0},
		"v1+metadata.65536":                 {"v1+metadata.65536", 0},
	} {
		if release, level := SplitLevel(version); release != want.release || level != want.level {
			t.Errorf("%q: %q at %d", version, release, level)
		}
	}
}

// A log whose level is newer than this release would be read on, or be refused without saying why and what to do.
func TestNewerLevelIsNotDecoded(t *testing.T) {
	_, err := Decode(encode(t, env, SetLevel{Level: NewestLevel + 1}))
	if !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	for _, say := range []string{"level 6", "up to 5", "start the newer"} {
		if !strings.Contains(err.Error(), say) {
			t.Errorf("%q does not say %q", err, say)
		}
	}
}

// A command would be proposed in a cluster that has brokers which do not know it.
func TestKnows(t *testing.T) {
	const later Kind = 9999
	kinds[later], since[later] = kind{"Later", 1, decode[SetLevel]}, 2
	defer delete(kinds, later)
	defer delete(since, later)
	if err := Level(1).Knows(later); !errors.Is(err, ErrLevel) || !strings.Contains(err.Error(), "Later needs 2") {
		t.Error(err)
	}
	if err := Level(2).Knows(later); err != nil {
		t.Error(err)
	}
	for k := range kinds {
		if k != later && NewestLevel.Knows(k) != nil {
			t.Errorf("%s needs a level that this release does not support", k)
		}
	}
}

package hot

import (
	"context"
	"errors"
	"testing"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// False if it failed: "a bit that flips in a sealed segment is found by a check; nobody is shown the segment from then on, after a kill
// and with whole recovery points neither, until it is set aside, or is whole again".
func TestCheck(t *testing.T) {
	size := int64(len(makeBatch(t, 0, 1, 1, 0, make([]byte, 100))))
	for name, at := range map[string]int64{"records": size + 80, "CRC": 18, "epoch": 3*size + 14, "offset": 3*size + 3, "length": 2*size + 11} {
		t.Run(name, func(t *testing.T) {
			w, fsys, all := damagedWorld(t)
			w.restart(Config{})
			for _, base := range []kafka.Offset{0, 4} {
				if n, err := w.log.Check(t.Context(), base, nil); n != 4*size || err != nil {
					t.Fatalf("segment %d: %d bytes, %v", base, n, err)
				}
			}
			if _, err := w.log.Check(t.Context(), 8, nil); !errors.Is(err, ErrOutOfRange) {
				t.Fatalf("the active segment: %v", err)
			}
			was, err := vfs.ReadFile(fsys, logPath(4))
			w.must(err)
			overwrite(t, fsys, logPath(4), at, []byte{was[at] ^ 0x80})
			var damage *DamageError
			if _, err := w.log.Check(t.Context(), 4, nil); !errors.As(err, &damage) || damage.Segment != 4 || damage.Next != 8 {
				t.Fatalf("checked: %v", err)
			}
			for range 2 {
				for from := kafka.Offset(4); from < 8; from++ {
					if _, err := w.log.Read(from, 10, 1000); !errors.Is(err, ErrDamaged) {
						t.Fatalf("read at %d: %v", from, err)
					}
				}
				if _, err := w.log.OpenSealed(4); !errors.Is(err, ErrDamaged) {
					t.Fatalf("opened for upload: %v", err)
				}
				if _, err := w.log.Read(8, 10, 1000); err != nil {
					t.Fatalf("read of a good segment: %v", err)
				}
				w.restart(Config{})
				if w.found.Damage == nil || w.log.End() != 10 {
					t.Fatalf("opened again: %+v, end %d", w.found, w.log.End())
				}
			}
			overwrite(t, fsys, logPath(4), 0, was)
			w.restart(Config{})
			if w.found.Damage != nil || !sameBatches(content(t, w.log, 1000), all) {
				t.Fatalf("mended: %+v", w.found)
			}
			overwrite(t, fsys, logPath(4), at, []byte{was[at] ^ 0x80})
			_, err = w.log.Check(t.Context(), 4, nil)
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("checked again: %v", err)
			}
			if _, err := w.log.ReleaseBefore(8); err != nil {
				t.Fatal(err)
			}
			if w.log.Damage() != nil {
				t.Errorf("released: %v", w.log.Damage())
			}
			w.append(1, 10)
		})
	}
}

// False if it failed: "damage that was found before a recovery point was written is no torn tail at the next start".
func TestCheckBeforeTheRecoveryPoint(t *testing.T) {
	fsys := vfs.NewCrash()
	w := newWorld(t, fsys, Config{})
	var all []batch.View
	for range 3 {
		all = append(all, w.append(4, 100)...)
		w.must(w.log.Roll())
	}
	w.flush()
	overwrite(t, fsys, logPath(4), 80, []byte{9})
	if _, err := w.log.Check(t.Context(), 4, nil); !errors.Is(err, ErrDamaged) {
		t.Fatalf("checked: %v", err)
	}
	for _, clean := range []bool{true, false} {
		if clean {
			w.must(w.log.Close())
		}
		w.restart(Config{})
		var damage *DamageError
		if !errors.As(w.found.Damage, &damage) || damage.Segment != 4 || w.log.End() != 12 {
			t.Fatalf("opened: %+v, end %d", w.found, w.log.End())
		}
		run, err := w.log.Read(8, 12, 1<<20)
		if err != nil || run.Len() != 4*len(all[0]) {
			t.Fatalf("what lies behind it: %d bytes, %v", run.Len(), err)
		}
	}
}

// False if it failed: "a check that is cut short, or misread once, condemns nothing".
func TestCheckMisread(t *testing.T) {
	_, disk, _ := damagedWorld(t)
	faulty := vfs.NewFaulty(disk)
	w := &world{t: t, fs: faulty, now: testTime}
	w.must(w.start(Config{}, 0))
	ctx, stop := context.WithCancel(t.Context())
	asked := 0
	_, err := w.log.Check(ctx, 0, func(ctx context.Context, n int) error {
		asked += n
		stop()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || asked == 0 || w.log.Damage() != nil {
		t.Fatalf("cut short: %v, %d bytes asked for, %v", err, asked, w.log.Damage())
	}
	once := true
	_, err = w.log.Check(t.Context(), 0, func(context.Context, int) error {
		if once {
			once = false
			return errBadBatch
		}
		return nil
	})
	if err != nil || w.log.Damage() != nil {
		t.Fatalf("misread: %v, %v", err, w.log.Damage())
	}
}

// False if it failed: "whoever reads one place of a sealed segment again and again has it looked at; reading on, or at the end, has not".
func TestSuspect(t *testing.T) {
	w, _, _ := damagedWorld(t)
	var heard []kafka.Offset
	w.log.env.Suspect = func(_ kafka.Partition, segment kafka.Offset) { heard = append(heard, segment) }
	for range 3 * suspicious {
		for from := range kafka.Offset(9) {
			_, err := w.log.Read(from, 10, 1)
			w.must(err)
		}
	}
	for range 3 * suspicious {
		_, err := w.log.Read(8, 10, 1)
		w.must(err)
	}
	if len(heard) > 0 {
		t.Fatalf("suspected: %v", heard)
	}
	for range suspicious + 1 {
		_, err := w.log.Read(5, 10, 1)
		w.must(err)
	}
	if len(heard) != 1 || heard[0] != 4 {
		t.Fatalf("suspected: %v", heard)
	}
}

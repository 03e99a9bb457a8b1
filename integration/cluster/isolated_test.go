package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestMain runs the tests again in namespaces of their own, where only root can go.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Println("NOT TRIED: only root makes namespaces and volumes")
		os.Exit(0)
	}
	if !Isolated() {
		code, err := Isolate()
		if err != nil {
			fmt.Println("NOT TRIED: namespaces:", err)
		}
		os.Exit(code)
	}
	if err := Settle(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// reaches says whether a packet from one place arrives at another.
func reaches(t *testing.T, n *Network, from, to Place) bool {
	t.Helper()
	var l net.PacketConn
	if err := n.Do(to, func() (err error) { l, err = net.ListenPacket("udp4", to.address()+":0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := n.Do(from, func() error {
		c, err := net.Dial("udp4", l.LocalAddr().String())
		if err != nil {
			return err
		}
		_, err = c.Write([]byte("x"))
		return errors.Join(err, c.Close())
	}); err != nil {
		t.Fatal(err)
	}
	// On one machine a packet is there when Write returns; the deadline is for those that never come.
	if err := l.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _, err := l.ReadFrom(make([]byte, 1))
	return err == nil
}

// A cut would let packets through, stop those of the other direction or of others, or outlast its healing.
func TestNetworkIsCut(t *testing.T) {
	n, err := NewNetwork(3)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, cut ...[2]Place) {
		t.Helper()
		for _, from := range n.places() {
			for _, to := range n.places() {
				want := true
				for _, c := range cut {
					want = want && c != [2]Place{from, to}
				}
				if from != to && reaches(t, n, from, to) != want {
					t.Errorf("%s: %v → %v is not %v", when, from, to, want)
				}
			}
		}
	}
	check("whole")
	if err := n.Cut(0, 1, Clients); err != nil {
		t.Fatal(err)
	}
	check("cut", [2]Place{0, 1}, [2]Place{0, Clients})
	if err := n.Heal(); err != nil {
		t.Fatal(err)
	}
	check("healed")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err = NewNetwork(2); err != nil {
		t.Fatalf("a second network: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// write makes a file, synced or not.
func write(t *testing.T, path string, sync bool) error {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	return errors.Join(f.Sync(), syncDir(filepath.Dir(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// A power cut would keep what was not synced, or lose what was; a full, failing or frozen disk would be none, or stay so.
func TestVolume(t *testing.T) {
	v, err := NewVolume(t.TempDir(), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	in := func(name string) string { return filepath.Join(v.Dir, name) }
	if err := errors.Join(write(t, in("synced"), true), write(t, in("lost"), false), v.Cut(), v.Remount()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(in("synced")); err != nil || info.Size() != 1<<20 {
		t.Errorf("what was synced is lost: %v, %v", info, err)
	}
	if info, err := os.Stat(in("lost")); err == nil && info.Size() > 0 {
		t.Errorf("what was not synced has survived: %d bytes", info.Size())
	}
	if err := v.Fill(100 << 10); err != nil {
		t.Fatal(err)
	}
	if err := write(t, in("more"), true); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk says %v", err)
	}
	if err := errors.Join(v.Free(), write(t, in("more"), true)); err != nil {
		t.Errorf("after it was freed: %v", err)
	}
	if err := v.Fail(); err != nil {
		t.Fatal(err)
	}
	failed := false
	for i := range 40 {
		if err := write(t, in(fmt.Sprint("eio", i)), true); err != nil {
			failed = errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EROFS)
			break
		}
	}
	if !failed {
		t.Error("a failing disk takes everything")
	}
	if err := errors.Join(v.Replaced(), v.Remount(), write(t, in("again"), true)); err != nil {
		t.Errorf("after it was replaced: %v", err)
	}
	if err := v.Freeze(); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- write(t, in("late"), true) }()
	select {
	case err := <-written:
		t.Errorf("a frozen disk takes writes: %v", err)
		err = v.Thaw()
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(200 * time.Millisecond):
		if err := errors.Join(v.Thaw(), <-written); err != nil {
			t.Errorf("after the thaw: %v", err)
		}
	}
}

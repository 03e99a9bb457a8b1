package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/secure/issue"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/object"
)

func text(list []Finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s %s: %s → %s\n", f.Result, f.Check, f.Text, f.Remedy)
	}
	return b.String()
}

// A right that a broker needs and does not have would not be named, or something of the look would stay in the bucket.
func TestBucketNamesTheMissingRight(t *testing.T) {
	denied := &object.Error{Op: "x", Err: object.ErrDenied}
	for verb, right := range map[object.Verb]string{"": "", object.Put: "s3:PutObject", object.Get: "s3:GetObject", object.List: "s3:ListBucket", object.Delete: "s3:DeleteObject"} {
		t.Run(string(verb)+" denied", func(t *testing.T) {
			mem := object.NewMem(time.Now)
			b := object.NewFaulty(mem)
			if verb != "" {
				b.Add(object.Rule{Verb: verb, Fault: object.Fault{Err: denied}})
			}
			list := Bucket(t.Context(), b, time.Now)
			all := text(list)
			if verb == "" {
				if Problems(list) != 0 || !strings.Contains(all, "list and delete work") || !strings.Contains(all, "ok clock") {
					t.Fatal(all)
				}
			} else if Problems(list) == 0 || !strings.Contains(all, "bucket "+string(verb)) || !strings.Contains(all, "grant "+right) || strings.Contains(all, "delete work") {
				t.Fatal(all)
			}
			left := 0
			if err := mem.List(t.Context(), "", func(object.Info) error { left++; return nil }); err != nil {
				t.Fatal(err)
			}
			if wanted := map[bool]int{true: 1}[verb == object.Delete]; left != wanted {
				t.Fatalf("%d objects are left", left)
			}
			if verb == object.Delete && !strings.Contains(all, "stays there") {
				t.Error("it does not say that something is left")
			}
		})
	}
	gone := object.NewFaulty(object.NewMem(time.Now))
	gone.Add(object.Rule{Fault: object.Fault{Err: object.ErrNoBucket}})
	if all := text(Bucket(t.Context(), gone, time.Now)); !strings.Contains(all, "create the bucket") {
		t.Error(all)
	}
	// What all requests meet is told once, with what the driver knows to do about it.
	nobody := anonymous{object.NewMem(time.Now)}
	for _, b := range []object.Bucket{nobody, gone} {
		if list := Bucket(t.Context(), b, time.Now); len(list) != 1 {
			t.Errorf("told several times: %s", text(list))
		}
	}
	if all := text(Bucket(t.Context(), nobody, time.Now)); !strings.Contains(all, "bucket credentials") || !strings.Contains(all, "→ set AWS_ACCESS_KEY_ID; ") || strings.Contains(all, "grant") ||
		!strings.Contains(all, "/etc/default/qanat") || strings.Count(all, "AWS_ACCESS_KEY_ID") != 1 {
		t.Error(all)
	}
	silent := object.NewFaulty(object.NewMem(time.Now))
	silent.Add(object.Rule{Fault: object.Fault{Hang: true}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if all := text(Bucket(ctx, silent, time.Now)); !strings.Contains(all, "whether this machine reaches them") {
		t.Error(all)
	}
}

// anonymous is a bucket of which nobody has credentials.
type anonymous struct{ object.Bucket }

func (anonymous) List(context.Context, string, func(object.Info) error) error {
	return &object.Error{Op: "list", Err: object.ErrCredentials, Remedy: "set AWS_ACCESS_KEY_ID"}
}

// A clock that is off would not be told of.
func TestClockAgainstTheStore(t *testing.T) {
	for off, says := range map[time.Duration]string{0: "ok", 5 * time.Second: "ok", 20 * time.Minute: "ahead of", -20 * time.Minute: "behind"} {
		b := object.NewMem(time.Now)
		if all := text(Bucket(t.Context(), b, func() time.Time { return time.Now().Add(off) })); !strings.Contains(all, says) || (says != "ok") != strings.Contains(all, "problem clock") {
			t.Errorf("%v: %s", off, all)
		}
	}
}

// A directory that cannot hold data would be found good, or the measurement would leave something there.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	list := Disk(t.Context(), filepath.Join(dir, "not", "there", "yet"))
	all := text(list)
	if Problems(list) > 1 || !strings.Contains(all, "disk flush: ") || !strings.Contains(all, "(p99)") || !strings.Contains(all, "disk space: ") { // the machine's own disk may be full
		t.Error(all)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if all := text(Disk(t.Context(), file)); !strings.Contains(all, "is no directory") {
		t.Error(all)
	}
	for err, says := range map[error]string{unix.ENOSPC: "make room", unix.EROFS: "read-only", unix.EACCES: "chown", unix.EDQUOT: "quota", unix.EIO: "otherwise"} {
		if remedy := mend(&os.PathError{Op: "write", Path: "x", Err: err}, "otherwise"); !strings.Contains(remedy, says) {
			t.Errorf("%v: %s", err, remedy)
		}
	}
	for free, wanted := range map[uint64]int{0: 1, 4: 1, 10: 0, 20: 0} {
		if list := judgeInodes(free, 100); Problems(list) != wanted || (free < 15) != (len(list) == 1) {
			t.Errorf("%d of 100 inodes: %s", free, text(list))
		}
	}
	if list := judgeInodes(0, 0); len(list) != 0 {
		t.Errorf("without inodes: %s", text(list))
	}
	for limit, result := range map[uint64]Result{1024: Problem, 20000: Warning, 1 << 20: OK, 1<<64 - 1: OK} {
		if f := judgeFiles(limit, "open files", ""); f.Result != result {
			t.Errorf("%d open files: %+v", limit, f)
		}
	}
}

// A certificate that ends, or has ended, would be found good.
func TestCertificates(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		s    secure.Status
		want Result
	}{
		{secure.Status{NotAfter: now.Add(time.Hour * 24 * 60)}, OK},
		{secure.Status{NotAfter: now.Add(time.Hour * 24 * 3)}, Warning},
		{secure.Status{NotAfter: now.Add(-time.Hour)}, Problem},
		{secure.Status{NotAfter: now.Add(time.Hour * 24 * 60), Problem: "not valid yet"}, Problem},
	} {
		if f := judgeCertificate("certificates", c.s, now); f.Result != c.want {
			t.Errorf("%+v: %+v", c.s, f)
		}
	}
}

// A broker that is not there, or shows what is no broker's, would be found good.
func TestPeers(t *testing.T) {
	ca, err := issue.NewAuthority("CA", time.Hour, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, r issue.Request) {
		t.Helper()
		r.Name, r.Hosts = name, []string{"localhost"}
		p, err := ca.Issue(r)
		if err == nil {
			err = p.Write(dir, name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	write("one", issue.Request{Role: &secure.Role{Node: 1}})
	write("two", issue.Request{Role: &secure.Role{Node: 2}})
	write("client", issue.Request{})
	// serve answers on a port with a certificate, or without TLS for "".
	serve := func(name string) string {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		var pair tls.Certificate
		if name != "" {
			if pair, err = tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				if name != "" {
					_ = tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake()
				}
				nc.Close()
			}
		}()
		return l.Addr().String()
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		addr   string
		tls    bool
		result Result
		says   string
	}{
		{serve(""), false, OK, "connected in"},
		{closed.Addr().String(), false, Warning, "it is not running"},
		{serve("two"), true, OK, "TLS with CN=two"},
		{serve(""), true, Problem, "no TLS"},
		{serve("client"), true, Problem, "no broker's role"},
		{serve("one"), true, Problem, "was shown by node 2"},
	} {
		sets := []string{"cluster.peers=1@127.0.0.1:1,2@" + c.addr + ",3@127.0.0.1:2"}
		if c.tls {
			sets = append(sets, "security.inter.broker.protocol=SSL", "ssl.keystore.certificate.chain="+filepath.Join(dir, "one.pem"),
				"ssl.keystore.key="+filepath.Join(dir, "one-key.pem"), "ssl.truststore.location="+filepath.Join(dir, "ca.pem"))
		}
		cfg, err := config.Load("", nil, sets)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range Peers(t.Context(), cfg) {
			if strings.HasPrefix(f.Text, "broker 2 ") {
				found = true
				if f.Result != c.result || !strings.Contains(f.Text, c.says) {
					t.Errorf("%s, wanted %s: %q", text([]Finding{f}), c.result, c.says)
				}
			}
		}
		if !found {
			t.Error("broker 2 was not looked at")
		}
	}
}

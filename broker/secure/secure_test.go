package secure_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/youmark/pkcs8"
	"golang.org/x/crypto/chacha20poly1305"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/secure/issue"
)

// world is a CA, and a directory for files.
type world struct {
	*testing.T
	ca  *issue.Authority
	dir string
	log bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{T: t, ca: authority(t), dir: t.TempDir()}
}

func authority(t *testing.T) *issue.Authority {
	t.Helper()
	ca, err := issue.NewAuthority("test CA", 24*time.Hour, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func (w *world) issue(r issue.Request) issue.Pair {
	w.Helper()
	p, err := w.ca.Issue(r)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

func (w *world) file(name string, text []byte) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := issue.WriteFile(path, text, 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

func (w *world) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&w.log, nil)) }

func (w *world) identity(s secure.Settings) *secure.Identity {
	w.Helper()
	i, err := secure.NewIdentity(s, time.Now, w.logger())
	if err != nil {
		w.Fatal(err)
	}
	return i
}

// broker is the settings of a broker's listener, from PEM in place.
func (w *world) broker(r issue.Request) secure.Settings {
	w.Helper()
	if r.Name == "" {
		r.Name = "broker"
	}
	if r.Hosts == nil {
		r.Hosts = []string{"localhost", "127.0.0.1"}
	}
	p := w.issue(r)
	return secure.Settings{Listener: "SSL", Chain: string(p.Cert), Key: string(p.Key), Certificates: string(w.ca.PEM())}
}

// shake makes a handshake of both over loopback, and returns what each side says of it.
func shake(t *testing.T, server, client *tls.Config) (atServer, atClient error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer nc.Close()
		c := secure.Server(nc, server)
		if err = c.Handshake(); err == nil {
			_, err = c.Write([]byte("x"))
		}
		done <- err
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := secure.Client(nc, client)
	if atClient = c.Handshake(); atClient == nil {
		_, atClient = io.ReadFull(c, make([]byte, 1)) // a client's certificate is judged after its handshake
	}
	if atClient != nil {
		nc.Close()
	}
	return <-done, atClient
}

func (w *world) trusting(p *issue.Pair) *tls.Config {
	w.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	c.RootCAs.AddCert(w.ca.Cert)
	if p != nil {
		cert, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			w.Fatal(err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c
}

// A certificate that is bad in one way would be taken, or refused in words that do not tell the way.
func TestHandshakesSayWhatIsWrong(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	required := w.broker(issue.Request{})
	required.ClientAuth = secure.AuthRequired
	client := w.issue(issue.Request{Name: "alice"})
	old := w.issue(issue.Request{Name: "alice", Before: time.Now().Add(-2 * time.Hour), After: time.Now().Add(-time.Hour)})
	early := w.issue(issue.Request{Name: "alice", Before: time.Now().Add(time.Hour), After: time.Now().Add(2 * time.Hour)})
	foreign := other.issue(issue.Request{Name: "mallory"})
	serverOnly := w.issue(issue.Request{Name: "alice", Hosts: []string{"alice"}, ServerOnly: true})
	wrongName := w.trusting(nil)
	wrongName.ServerName = "kafka.example.com"
	for _, c := range []struct {
		name             string
		server           secure.Settings
		client           *tls.Config
		server_, client_ string // parts of what each side says; "" for nothing
	}{
		{"all well", w.broker(issue.Request{}), w.trusting(nil), "", ""},
		{"all well, both ways", required, w.trusting(&client), "", ""},
		{"no certificate", required, w.trusting(nil), "none was shown", "none was shown"},
		{"expired client", required, w.trusting(&old), "has expired", "not valid now"},
		{"client of tomorrow", required, w.trusting(&early), "is not valid before", "not valid now"},
		{"foreign client", required, w.trusting(&foreign), "CA that ssl.truststore does not have", ""}, // Go sends "bad certificate" or the CA's alert by version
		{"client with a server's certificate", required, w.trusting(&serverOnly), "extended key usages", ""},
		{"expired broker", w.broker(issue.Request{Before: time.Now().Add(-2 * time.Hour), After: time.Now().Add(-time.Hour)}), w.trusting(nil), "and valid now", "has expired"},
		{"broker of tomorrow", w.broker(issue.Request{Before: time.Now().Add(time.Hour), After: time.Now().Add(2 * time.Hour)}), w.trusting(nil), "and valid now", "is not valid before"},
		{"wrong host", w.broker(issue.Request{}), wrongName, "refuses this broker's certificate", "dial a name that the certificate has"},
		{"unknown CA", other.broker(issue.Request{}), w.trusting(nil), "", "name the CA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			atServer, atClient := shake(t, w.identity(c.server).ServerConfig(), c.client)
			says := func(side secure.Side, err error, part string) {
				t.Helper()
				cause := secure.Explain(err, side)
				switch {
				case part == "" && c.name[:3] == "all" && err != nil:
					t.Errorf("%v", err)
				case part != "" && err == nil:
					t.Errorf("the handshake was taken; %q was expected", part)
				case part != "" && !strings.Contains(cause.Text, part):
					t.Errorf("says %q, which does not contain %q (%v)", cause.Text, part, err)
				}
			}
			says(secure.Listener, atServer, c.server_)
			says(secure.Dialer, atClient, c.client_)
			if c.name[:3] != "all" && atServer == nil && atClient == nil {
				t.Error("nobody minds")
			}
		})
	}
}

// A certificate without the broker's role, or for another node or cluster, would be taken for a broker's.
func TestRoles(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		role    *secure.Role
		node    int32
		cluster string
		wrong   string
	}{
		{&secure.Role{Node: secure.AnyNode}, 7, "abc", ""},
		{&secure.Role{Node: 7}, 7, "abc", ""},
		{&secure.Role{Node: 7}, 8, "abc", "is for qanat:///broker/7, and was shown by node 8"},
		{&secure.Role{Node: 7, Cluster: "Ab_c-1"}, 7, "Ab_c-1", ""},
		{&secure.Role{Node: 7, Cluster: "Ab_c-1"}, 7, "", ""},
		{&secure.Role{Node: secure.AnyNode, Cluster: "abc"}, 7, "def", "cluster def"},
		{nil, 7, "abc", "no broker's role"},
	} {
		block, _ := pem.Decode(w.issue(issue.Request{Name: "x", Hosts: []string{"x"}, Role: c.role}).Cert)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		err = secure.Admit(cert, c.node, c.cluster)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%v as node %d of %q: %v, want %q", c.role, c.node, c.cluster, err, c.wrong)
		}
	}
}

// A rule would name somebody as Kafka's does not.
func TestPrincipals(t *testing.T) {
	w := newWorld(t)
	block, _ := pem.Decode(w.issue(issue.Request{Name: "Alice.Dev"}).Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for rules, want := range map[string]string{
		"":                                    "User:CN=Alice.Dev",
		"DEFAULT":                             "User:CN=Alice.Dev",
		"RULE:^CN=(.*?)$/$1/":                 "User:Alice.Dev",
		"RULE:^CN=(.*?)$/$1/L":                "User:alice.dev",
		"RULE:^CN=(.*?)$/$1@corp/U , DEFAULT": "User:ALICE.DEV@CORP",
		"RULE:^OU=(.*)$/$1/,RULE:CN=(.*)\\.Dev/x-$1/":   "User:x-Alice",
		"RULE:^OU=(.*)$/$1/,DEFAULT":                    "User:CN=Alice.Dev",
		"RULE:CN=([A-Z])(.*)/$2$1x/L, RULE:.*/nobody/L": "User:lice.devax",
	} {
		p, err := secure.ParsePrincipals(rules)
		if err != nil {
			t.Errorf("%q: %v", rules, err)
			continue
		}
		if got, err := p.Of(cert); err != nil || got != want {
			t.Errorf("%q makes %q (%v), want %q", rules, got, err, want)
		}
	}
	p, err := secure.ParsePrincipals("RULE:^OU=(.*)$/$1/")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Of(cert); !errors.Is(err, secure.ErrNoPrincipal) {
		t.Errorf("nothing fits, and it is %q, %v", got, err)
	}
	if got, _ := p.Of(nil); got != secure.Anonymous {
		t.Errorf("without a certificate it is %q", got)
	}
	for _, bad := range []string{"x", "RULE:a", "RULE:a/b", "RULE:(/b/", "RULE:a)|(b/c/", "DEFAULT DEFAULT", "RULE:a/b/X"} {
		if _, err := secure.ParsePrincipals(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// What a store holds would not be read, or its fault would be told without the key and the remedy.
func TestStores(t *testing.T) {
	w := newWorld(t)
	p := w.issue(issue.Request{Name: "broker", Hosts: []string{"localhost"}})
	another := w.issue(issue.Request{Name: "broker", Hosts: []string{"localhost"}})
	chain, key, ca := w.file("b.pem", p.Cert), w.file("b-key.pem", p.Key), w.file("ca.pem", w.ca.PEM())
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	store, err := pkcs12.Modern.Encode(pair.PrivateKey, pair.Leaf, []*x509.Certificate{w.ca.Cert}, "changeit")
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{w.ca.Cert}, "changeit")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := pkcs8.MarshalPrivateKey(pair.PrivateKey, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	lockedPEM := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: locked}))
	closed := w.file("closed.pem", p.Key)
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		s     secure.Settings
		wrong string
	}{
		{"files", secure.Settings{Chain: chain, Key: key, TruststoreLocation: ca}, ""},
		{"one file", secure.Settings{KeystoreLocation: w.file("both.pem", append(append([]byte{}, p.Key...), p.Cert...))}, ""},
		{"in place", secure.Settings{Chain: string(p.Cert), Key: string(p.Key), Certificates: string(w.ca.PEM())}, ""},
		{"PKCS12", secure.Settings{KeystoreType: "PKCS12", KeystoreLocation: w.file("b.p12", store), KeystorePassword: "changeit",
			TruststoreType: "PKCS12", TruststoreLocation: w.file("ca.p12", trust), TruststorePassword: "changeit"}, ""},
		{"encrypted key", secure.Settings{Chain: chain, Key: lockedPEM, KeyPassword: "secret"}, ""},
		{"encrypted key, no password", secure.Settings{Chain: chain, Key: lockedPEM}, "ssl.key.password is not set"},
		{"encrypted key, wrong password", secure.Settings{Chain: chain, Key: lockedPEM, KeyPassword: "x"}, "does not open it"},
		{"PKCS12, wrong password", secure.Settings{KeystoreType: "PKCS12", KeystoreLocation: w.file("c.p12", store), KeystorePassword: "x"}, "ssl.keystore.password does not open it"},
		{"another's key", secure.Settings{Chain: chain, Key: string(another.Key)}, "does not belong to the first certificate of ssl.keystore.certificate.chain " + chain},
		{"no key", secure.Settings{Chain: chain}, "both are needed"},
		{"no such file", secure.Settings{Chain: chain, Key: key + "x"}, "correct the path"},
		{"certificate as key", secure.Settings{Chain: chain, Key: chain}, "no private key in it"},
		{"key as certificate", secure.Settings{Chain: key, Key: key}, "no certificate in it"},
		{"Java's keystore", secure.Settings{Chain: w.file("x.jks", []byte{0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2}), Key: key}, "keytool -importkeystore"},
		{"JKS", secure.Settings{KeystoreType: "JKS", KeystoreLocation: chain}, "keytool -importkeystore"},
		{"empty", secure.Settings{Chain: w.file("empty.pem", nil), Key: key}, "it is empty"},
		{"twice", secure.Settings{Chain: chain, KeystoreLocation: chain}, "one or the other"},
		{"nothing", secure.Settings{}, "qanat cert dev"},
		{"auth without a CA", secure.Settings{Chain: chain, Key: key, ClientAuth: "required"}, "no CA to check clients by"},
		{"truststore without certificates", secure.Settings{Chain: chain, Key: key, TruststoreLocation: key}, "ssl.truststore.location"},
		{"rules", secure.Settings{Chain: chain, Key: key, Principals: "RULE:"}, "ssl.principal.mapping.rules"},
		{"unreadable", secure.Settings{Chain: chain, Key: closed}, "let the broker's user read it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "unreadable" && os.Getuid() == 0 {
				t.Skip("root reads everything")
			}
			c.s.Listener = "SSL"
			_, err := secure.NewIdentity(c.s, time.Now, nil)
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%v, want %q", err, c.wrong)
			}
			if err != nil && strings.Contains(err.Error(), "BEGIN") && !strings.Contains(err.Error(), "(-----BEGIN") {
				t.Errorf("the message shows what is to be kept: %v", err)
			}
		})
	}
}

// A key that everybody can read would not be told of.
func TestReadableKeyIsToldOf(t *testing.T) {
	w := newWorld(t)
	p := w.issue(issue.Request{Name: "broker", Hosts: []string{"localhost"}})
	s := secure.Settings{Listener: "SSL", Chain: string(p.Cert), Key: w.file("key.pem", p.Key)}
	w.identity(s)
	if strings.Contains(w.log.String(), "can be read by everybody") {
		t.Fatalf("a key for its owner alone is told of: %s", w.log.String())
	}
	if err := os.Chmod(s.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	w.identity(s)
	if !strings.Contains(w.log.String(), "can be read by everybody") {
		t.Fatalf("nothing is said of it: %s", w.log.String())
	}
}

// A new certificate would not be shown without a restart, or a broken one would take the old one out of use.
func TestFilesAreReadAgain(t *testing.T) {
	w := newWorld(t)
	write := func(r issue.Request) issue.Pair {
		r.Hosts = []string{"localhost"}
		p := w.issue(r)
		if err := p.Write(w.dir, "b"); err != nil {
			t.Fatal(err)
		}
		return p
	}
	shown := func(i *secure.Identity) string {
		t.Helper()
		c := w.trusting(nil)
		var name string
		c.VerifyConnection = func(s tls.ConnectionState) error { name = s.PeerCertificates[0].Subject.CommonName; return nil }
		if _, err := shake(t, i.ServerConfig(), c); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write(issue.Request{Name: "first"})
	i := w.identity(secure.Settings{Listener: "SSL", Chain: filepath.Join(w.dir, "b.pem"), Key: filepath.Join(w.dir, "b-key.pem")})
	config := i.ServerConfig() // a listener keeps its own
	is := func(want string, reloads, failed int64, refused string) {
		t.Helper()
		i.Reload()
		if got := shown(i); got != want {
			t.Fatalf("%q is shown, not %q", got, want)
		}
		if s := i.Status(); s.Reloads != reloads || s.Failed != failed || (refused == "") != (s.Refused == "") || !strings.Contains(s.Refused, refused) {
			t.Fatalf("%+v, want %d reloads, %d failed, refused %q", s, reloads, failed, refused)
		}
	}
	is("first", 0, 0, "")
	write(issue.Request{Name: "second"})
	is("second", 1, 0, "")
	if _, err := shake(t, config, w.trusting(nil)); err != nil {
		t.Fatal(err)
	}
	third := w.issue(issue.Request{Name: "third", Hosts: []string{"localhost"}})
	w.file("b.pem", third.Cert) // the key is still the second's
	is("second", 1, 1, "does not belong")
	is("second", 1, 1, "does not belong") // said once
	if n := strings.Count(w.log.String(), "cannot be used"); n != 1 {
		t.Fatalf("said %d times", n)
	}
	w.file("b-key.pem", third.Key)
	is("third", 2, 1, "")
	w.file("b.pem", []byte("-----BEGIN CERT"))
	is("third", 2, 2, "no certificate in it")
	write(issue.Request{Name: "expired", Before: time.Now().Add(-2 * time.Hour), After: time.Now().Add(-time.Hour)})
	is("third", 2, 3, "has expired")
	if err := os.Remove(filepath.Join(w.dir, "b.pem")); err != nil {
		t.Fatal(err)
	}
	is("third", 2, 4, "no such file")
	write(issue.Request{Name: "fourth"})
	is("fourth", 3, 4, "")
}

// A bundle of CAs, or a chain, that is cut short while it is written would be taken for the whole: those behind the cut would be trusted no more.
func TestFilesThatAreCutShort(t *testing.T) {
	w := newWorld(t)
	first, second := w.ca, authority(t)
	p := w.issue(issue.Request{Name: "broker", Hosts: []string{"localhost"}})
	whole := slices.Concat(first.PEM(), second.PEM())
	bundle := w.file("ca.pem", whole)
	i := w.identity(secure.Settings{Listener: "SSL", Chain: w.file("b.pem", p.Cert), Key: w.file("b-key.pem", p.Key), TruststoreLocation: bundle, ClientAuth: secure.AuthRequired})
	w.ca = second
	client := w.issue(issue.Request{Name: "client"})
	w.ca = first
	trusted := w.trusting(&client)
	// Where the first certificate ends nothing tells that there is another.
	for cut := len(first.PEM()) + 1; cut < len(whole)-1; cut++ {
		w.file("ca.pem", whole[:cut])
		i.Reload()
		if s := i.Status(); s.Reloads != 0 || s.Refused == "" {
			t.Fatalf("cut at %d of %d: %+v", cut, len(whole), s)
		}
	}
	if _, err := shake(t, i.ServerConfig(), trusted); err != nil {
		t.Fatalf("a client of the second CA: %v", err)
	}
	if n := strings.Count(w.log.String(), "cannot be used"); n != 1 {
		t.Fatalf("said %d times", n)
	}
	for _, text := range [][]byte{whole, slices.Concat([]byte("remarks ---\n"), first.PEM(), []byte("# -- behind\n\n"), second.PEM(), []byte("-- the end\n"))} {
		w.file("ca.pem", text)
		i.Reload()
		if s := i.Status(); s.Refused != "" {
			t.Fatalf("%q is refused: %s", text, s.Refused)
		}
	}
}

// Bytes would be lost, doubled or sent by somebody else when ciphertext is collected; or the other end would not read them.
func TestCollectedCiphertextIsWhatIsSent(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	done := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer nc.Close()
		c := secure.Server(nc, w.identity(w.broker(issue.Request{})).ServerConfig())
		if err := c.Handshake(); err != nil {
			done <- err
			return
		}
		c.Collect()
		var spare []byte
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 50_001)
			if _, err := c.Write(rest[:n]); err != nil {
				done <- err
				return
			}
			rest = rest[n:]
			sealed := c.Take(spare)
			if len(sealed) <= n {
				done <- fmt.Errorf("%d bytes became %d: not encrypted", n, len(sealed))
				return
			}
			if _, err := nc.Write(sealed); err != nil {
				done <- err
				return
			}
			spare = sealed
		}
		c.Farewell()
		done <- nil
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), w.trusting(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("the end is not told properly: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes of %d, or others", len(got), len(want))
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A client that asks for new keys again and again, and takes no answer, would make the broker keep all the answers.
func TestAskingForKeysIsBounded(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type end struct {
		kept int
		err  error
	}
	done := make(chan end, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			done <- end{err: err}
			return
		}
		defer nc.Close()
		c := secure.Server(nc, w.identity(w.broker(issue.Request{})).ServerConfig())
		if err := c.Handshake(); err != nil {
			done <- end{err: err}
			return
		}
		c.Collect()
		_, err = io.Copy(io.Discard, c)
		done <- end{len(c.Take(nil)), err}
	}()
	var secrets bytes.Buffer
	trust := w.trusting(nil)
	trust.MinVersion, trust.KeyLogWriter = tls.VersionTLS13, &secrets
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := tls.Client(nc, trust)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	asking := newKeyAsker(t, c.ConnectionState().CipherSuite, secrets.String())
	for n := range 40_000 { // a megabyte of answers
		var r []byte
		if n%8 == 0 { // crypto/tls counts how many come without a byte
			r = asking.record(23, 'x')
		}
		r = append(r, asking.record(22, 24, 0, 0, 1, 1)...) // KeyUpdate, update_requested
		asking.next()
		if _, err := nc.Write(r); err != nil {
			break // it has hung up
		}
	}
	nc.Close()
	if e := <-done; !errors.Is(e.err, secure.ErrKeyUpdates) || e.kept > 256<<10 {
		t.Fatalf("%d bytes of answers are kept; %v", e.kept, e.err)
	}
}

// keyAsker makes a client's records that ask for new keys, which crypto/tls does not do by itself.
type keyAsker struct {
	t      *testing.T
	suite  uint16
	hash   func() hash.Hash
	secret []byte
	number byte // of the next record under the secret's key
}

func newKeyAsker(t *testing.T, suite uint16, log string) *keyAsker {
	t.Helper()
	k := &keyAsker{t: t, suite: suite, hash: sha256.New}
	if suite == tls.TLS_AES_256_GCM_SHA384 {
		k.hash = sha512.New384
	}
	for line := range strings.Lines(log) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			var err error
			if k.secret, err = hex.DecodeString(f[2]); err != nil {
				t.Fatal(err)
			}
			return k
		}
	}
	t.Fatal("no secret was logged")
	return nil
}

// expand is HKDF-Expand-Label (RFC 8446, 7.1).
func (k *keyAsker) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := slices.Concat([]byte{byte(n >> 8), byte(n), byte(len(label))}, []byte(label), []byte{0})
	out, err := hkdf.Expand(k.hash, k.secret, string(info), n)
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

// record is the next one, of a type.
func (k *keyAsker) record(kind byte, text ...byte) []byte {
	var aead cipher.AEAD
	var err error
	switch k.suite {
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		aead, err = chacha20poly1305.New(k.expand("key", 32))
	default:
		var block cipher.Block
		if block, err = aes.NewCipher(k.expand("key", map[bool]int{true: 32, false: 16}[k.suite == tls.TLS_AES_256_GCM_SHA384])); err == nil {
			aead, err = cipher.NewGCM(block)
		}
	}
	if err != nil {
		k.t.Fatal(err)
	}
	plain := slices.Concat(text, []byte{kind})
	nonce := k.expand("iv", 12)
	nonce[11] ^= k.number
	k.number++
	head := []byte{23, 3, 3, 0, byte(len(plain) + aead.Overhead())}
	return aead.Seal(head, nonce, plain, head)
}

// next takes the next key.
func (k *keyAsker) next() { k.secret, k.number = k.expand("traffic upd", len(k.secret)), 0 }

// A certificate that others would not admit would be taken into use between brokers, and this one be alone from then on.
func TestOnlyWhatOthersAdmitIsReadAgain(t *testing.T) {
	w := newWorld(t)
	write := func(r issue.Request) {
		if err := w.issue(r).Write(w.dir, "b"); err != nil {
			t.Fatal(err)
		}
	}
	role := func(cluster string) *secure.Role { return &secure.Role{Node: 1, Cluster: cluster} }
	write(issue.Request{Name: "first", Role: role("")})
	i := w.identity(secure.Settings{
		Listener: "cluster", Chain: filepath.Join(w.dir, "b.pem"), Key: filepath.Join(w.dir, "b-key.pem"), Certificates: string(w.ca.PEM()),
	})
	if err := i.CheckPeers(1, ""); err != nil {
		t.Fatal(err)
	}
	is := func(reloads int64, refused string) {
		t.Helper()
		i.Reload()
		if s := i.Status(); s.Reloads != reloads || (refused == "") != (s.Refused == "") || !strings.Contains(s.Refused, refused) {
			t.Fatalf("%+v, want %d reloads, refused %q", s, reloads, refused)
		}
	}
	write(issue.Request{Name: "a client"})
	is(0, "a client")
	write(issue.Request{Name: "any cluster does while none is known", Role: role("theirs")})
	is(1, "")
	if err := i.CheckPeers(1, "ours"); err == nil {
		t.Fatal("another cluster's is good enough")
	}
	write(issue.Request{Name: "ours", Role: role("ours")})
	is(2, "")
	write(issue.Request{Name: "theirs", Role: role("theirs")})
	is(2, "cluster ours")
}

// Who looks at a broker with the broker's files would be kept out by a certificate's names or time, or would take anybody for the broker.
func TestOwnDialConfig(t *testing.T) {
	w := newWorld(t)
	own := w.broker(issue.Request{Hosts: []string{"broker-1.example.internal"}, Before: time.Now().Add(-2 * time.Hour), After: time.Now().Add(-time.Hour)})
	successor := w.broker(issue.Request{Hosts: []string{"broker-1.example.internal"}})
	foreign := newWorld(t).broker(issue.Request{Hosts: []string{"broker-1.example.internal"}})
	dialer := w.identity(own).OwnDialConfig()
	for name, c := range map[string]struct {
		shown secure.Settings
		wrong string
	}{"its own, expired": {own, ""}, "its successor": {successor, ""}, "another CA's": {foreign, "unknown authority"}} {
		_, err := shake(t, w.identity(c.shown).ServerConfig(), dialer)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, want %q", name, err, c.wrong)
		}
	}
}

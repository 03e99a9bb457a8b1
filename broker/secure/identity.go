package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Identity is what a listener shows and whom it trusts, as the files say at the moment. Safe for concurrent use.
type Identity struct {
	settings   Settings
	principals Principals
	clock      func() time.Time
	log        *slog.Logger

	now       atomic.Pointer[current]
	peers     atomic.Pointer[place] // between brokers: as whom a certificate must admit this one; nil elsewhere
	listening *tls.Config           // ServerConfig
	reloads   atomic.Int64
	failed    atomic.Int64

	mu    sync.Mutex // one reload at a time
	seen  []stamp    // the files as they were when they were read last, whatever came of it
	wrong string     // what the last reload has said; "" when it worked
}

// current is what is in use, with the configuration that follows from it. Immutable.
type current struct {
	material
	server *tls.Config
}

// place is a node's in a cluster, "" while that is not known yet.
type place struct {
	node    int32
	cluster string
}

// stamp tells a file from its successor.
type stamp struct {
	info fs.FileInfo
	err  string
}

func (s stamp) same(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.err == o.err && s.info == o.info
	}
	return os.SameFile(s.info, o.info) && s.info.ModTime().Equal(o.info.ModTime()) && s.info.Size() == o.info.Size()
}

// NewIdentity reads what the settings name. A certificate whose time is not now is taken, and told of: without it nothing would
// be served at all, and its successor may be on its way.
func NewIdentity(s Settings, clock func() time.Time, log *slog.Logger) (*Identity, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	i := &Identity{settings: s, clock: clock, log: log}
	fail := func(err error) (*Identity, error) { return nil, fmt.Errorf("TLS of listener %s: %w", s.Listener, err) }
	var err error
	if i.principals, err = ParsePrincipals(s.Principals); err != nil {
		return fail(fmt.Errorf("ssl.principal.mapping.rules: %w", err))
	}
	i.seen = i.look()
	m, err := s.load()
	if err != nil {
		return fail(err)
	}
	if m.cert == nil {
		return fail(errors.New("there is no certificate to show: set ssl.keystore.location (PEM, key and certificates in one file), or ssl.keystore.certificate.chain and ssl.keystore.key; `qanat cert dev` makes some for trying"))
	}
	if m.roots == nil && s.ClientAuth != AuthNone && s.ClientAuth != "" {
		return fail(fmt.Errorf("ssl.client.auth=%s, and there is no CA to check clients by: set ssl.truststore.location or ssl.truststore.certificates", s.ClientAuth))
	}
	i.use(m)
	i.listening = i.now.Load().server.Clone()
	i.listening.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return i.now.Load().server, nil }
	i.warn(m)
	return i, nil
}

// warn tells of what works and should not stay.
func (i *Identity) warn(m *material) {
	if err := validity(m.cert.Leaf, i.clock()); err != nil {
		i.log.Error("the certificate of a listener is of no use to clients: replace the file, a restart is not needed", "listener", i.settings.Listener, "cause", err)
	}
	for _, f := range i.settings.keyFiles() {
		if info, err := os.Stat(f); err == nil && info.Mode().Perm()&0o004 != 0 {
			i.log.Warn("a private key can be read by everybody on this machine: chmod o-r", "listener", i.settings.Listener, "file", f, "mode", info.Mode().Perm().String())
		}
	}
}

func (i *Identity) use(m *material) {
	low, high := i.settings.versionRange()
	c := &tls.Config{
		Certificates: []tls.Certificate{*m.cert}, MinVersion: low, MaxVersion: high, CipherSuites: i.settings.suites(),
		// Answers are long: small first records would only cost system calls.
		DynamicRecordSizingDisabled: true,
		ClientCAs:                   m.roots, Time: i.clock,
	}
	switch i.settings.ClientAuth {
	case AuthRequested:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	case AuthRequired:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	i.now.Store(&current{material: *m, server: c})
}

// ServerConfig is for the listener: every handshake takes what is current.
func (i *Identity) ServerConfig() *tls.Config { return i.listening }

// PeerServerConfig is ServerConfig for a listener between brokers: a certificate is asked for, whatever ssl.client.auth says.
func (i *Identity) PeerServerConfig() *tls.Config {
	c := i.peerServer()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return i.peerServer(), nil }
	return c
}

func (i *Identity) peerServer() *tls.Config {
	c := i.now.Load().server.Clone()
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.SessionTicketsDisabled = true // a session would be resumed that is older than the roots
	return c
}

// PeerDialConfig is for connections to other brokers: their certificate must be of a CA that is trusted. Its host name does not
// count, as brokers move and are reached at several names; its role does (see Admit), which the caller checks.
func (i *Identity) PeerDialConfig() *tls.Config {
	m := i.now.Load()
	low, high := i.settings.versionRange()
	return &tls.Config{
		Certificates: []tls.Certificate{*m.cert}, MinVersion: low, MaxVersion: high, CipherSuites: i.settings.suites(), Time: i.clock,
		DynamicRecordSizingDisabled: true,
		InsecureSkipVerify:          true, // VerifyConnection does all but the name
		VerifyConnection:            func(s tls.ConnectionState) error { return m.trusts(s, i.clock()) },
	}
}

// OwnDialConfig is for who looks at a broker on its machine, with its files: what is shown must be the certificate that they hold, whatever its names
// are and though its time be over, or one of a CA that they trust.
func (i *Identity) OwnDialConfig() *tls.Config {
	m := i.now.Load()
	c := i.PeerDialConfig()
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if s.PeerCertificates[0].Equal(m.cert.Leaf) {
			return nil
		}
		return m.trusts(s, i.clock())
	}
	return c
}

// trusts checks all of a listener's certificate but its names.
func (m *material) trusts(s tls.ConnectionState, now time.Time) error {
	more := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		more.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: m.roots, Intermediates: more, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
	}
	return nil
}

// CheckPeers tells whether the identity can be used between brokers: it has a broker's role that fits, and somebody to trust. From then on
// nothing else is taken into use; called again when the cluster is known.
func (i *Identity) CheckPeers(node int32, cluster string) error {
	p := &place{node, cluster}
	i.peers.Store(p)
	if err := p.admits(&i.now.Load().material); err != nil {
		return fmt.Errorf("TLS of listener %s: %w", i.settings.Listener, err)
	}
	return nil
}

func (p *place) admits(m *material) error {
	if m.roots == nil {
		return errors.New("there is no CA to check other brokers by: set ssl.truststore.location or ssl.truststore.certificates")
	}
	return Admit(m.cert.Leaf, p.node, p.cluster)
}

// Principal names the client at the other end of a connection.
func (i *Identity) Principal(s tls.ConnectionState) (string, error) {
	if len(s.PeerCertificates) == 0 {
		return Anonymous, nil
	}
	return i.principals.Of(s.PeerCertificates[0])
}

// Status is how an identity is.
type Status struct {
	Listener string
	Subject  string
	NotAfter time.Time // of the certificate that is shown, or of an intermediate one that ends earlier
	// Problem is what is wrong with the certificate's time, "" when nothing is.
	Problem string
	// Refused is why the files as they are now are not in use, "" when they are.
	Refused         string
	Reloads, Failed int64 // since the start
}

// Status tells how it is.
func (i *Identity) Status() Status {
	m := i.now.Load()
	s := Status{Listener: i.settings.Listener, Subject: Subject(m.cert.Leaf), NotAfter: m.notAfter(), Reloads: i.reloads.Load(), Failed: i.failed.Load()}
	if err := validity(m.cert.Leaf, i.clock()); err != nil {
		s.Problem = err.Error()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	s.Refused = i.wrong
	return s
}

// notAfter is when the chain that is shown ends.
func (m *material) notAfter() time.Time {
	end := m.cert.Leaf.NotAfter
	for _, raw := range m.cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(raw); err == nil && c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

func (i *Identity) look() []stamp {
	files := i.settings.files()
	list := make([]stamp, len(files))
	for n, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			list[n].err = err.Error()
			continue
		}
		list[n].info = info
	}
	return list
}

// Reload looks whether a file has changed and takes what is new into use. What cannot be used leaves what is in use as it is,
// and is told of once.
func (i *Identity) Reload() {
	i.mu.Lock()
	defer i.mu.Unlock()
	looked := i.look()
	same := true
	for n := range looked {
		same = same && looked[n].same(i.seen[n])
	}
	if same && i.wrong == "" {
		return
	}
	i.seen = looked
	m, err := i.settings.load()
	if err == nil {
		// One that has expired is worse than one that has not, and no worse than another that has.
		if err = validity(m.cert.Leaf, i.clock()); err != nil && validity(i.now.Load().cert.Leaf, i.clock()) != nil {
			err = nil
		}
	}
	if p := i.peers.Load(); err == nil && p != nil {
		err = p.admits(m)
	}
	if err != nil {
		if said := err.Error(); said != i.wrong {
			i.wrong = said
			i.failed.Add(1)
			i.log.Error("new TLS files cannot be used: what was read before stays in use", "listener", i.settings.Listener, "cause", err)
		}
		return
	}
	i.wrong = ""
	old := i.now.Load()
	i.use(m)
	i.reloads.Add(1)
	i.log.Info("TLS files were read again", "listener", i.settings.Listener, "certificate", Subject(m.cert.Leaf), "valid_until", m.notAfter().UTC().Format(time.RFC3339),
		"same_certificate", m.cert.Leaf.Equal(old.cert.Leaf))
	i.warn(m)
}

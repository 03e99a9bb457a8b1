package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/metadata/config"
)

// TLS of all listeners: who shows what, and that it stays current.

// identities are those of the listeners that speak TLS, by the listeners' names.
type identities map[string]*secure.Identity

// secured are the listeners of a configuration that speak TLS.
func secured(cfg *config.Broker) []string {
	var names []string
	for _, l := range cfg.Listeners() {
		if l.Security == config.SSL {
			names = append(names, l.Name)
		}
	}
	if cfg.String("security.inter.broker.protocol") == config.SSL {
		names = append(names, config.ClusterListener)
	}
	if cfg.String("admin.security.protocol") == config.SSL && cfg.String("admin.listener") != "" {
		names = append(names, config.AdminListener)
	}
	return names
}

// tlsSettings are the ssl.* keys of a listener.
func tlsSettings(cfg *config.Broker, listener string) secure.Settings {
	of := func(key string) string { return cfg.OfListener(listener, key) }
	return secure.Settings{
		Listener:     listener,
		KeystoreType: of("ssl.keystore.type"), KeystoreLocation: of("ssl.keystore.location"), KeystorePassword: of("ssl.keystore.password"),
		Chain: of("ssl.keystore.certificate.chain"), Key: of("ssl.keystore.key"), KeyPassword: of("ssl.key.password"),
		TruststoreType: of("ssl.truststore.type"), TruststoreLocation: of("ssl.truststore.location"), TruststorePassword: of("ssl.truststore.password"),
		Certificates: of("ssl.truststore.certificates"),
		ClientAuth:   of("ssl.client.auth"), Protocols: config.SplitList(of("ssl.enabled.protocols")), Ciphers: config.SplitList(of("ssl.cipher.suites")),
		Principals: of("ssl.principal.mapping.rules"),
	}
}

// CheckTLS reads what the listeners that speak TLS are to show, and tells all that is wrong with it.
func CheckTLS(cfg *config.Broker) error {
	_, err := Identities(cfg)
	return err
}

// Identities are those of the listeners that speak TLS, as the files are now.
func Identities(cfg *config.Broker) ([]*secure.Identity, error) {
	ids, err := readTLS(cfg, cfg.String("cluster.id"), slog.New(slog.DiscardHandler))
	var list []*secure.Identity
	for _, name := range secured(cfg) {
		if id := ids[name]; id != nil {
			list = append(list, id)
		}
	}
	return list, err
}

// AdminIdentity is that of the admin port, which is to speak TLS, as the files are now.
func AdminIdentity(cfg *config.Broker) (*secure.Identity, error) {
	return secure.NewIdentity(tlsSettings(cfg, config.AdminListener), time.Now, nil)
}

func readTLS(cfg *config.Broker, cluster string, log *slog.Logger) (identities, error) {
	ids := identities{}
	var errs []error
	for _, name := range secured(cfg) {
		s := tlsSettings(cfg, name)
		for _, c := range s.Ciphers {
			if err := secure.CheckCipher(c); err != nil {
				errs = append(errs, fmt.Errorf("TLS of listener %s: ssl.cipher.suites: %w", name, err))
			}
		}
		id, err := secure.NewIdentity(s, time.Now, log)
		if err == nil && name == config.ClusterListener {
			err = id.CheckPeers(int32(cfg.Int("node.id")), cluster)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ids[name] = id
	}
	if cfg.Bool("cluster.plaintext.allowed") && cfg.String("security.inter.broker.protocol") != config.SSL {
		errs = append(errs, errors.New("cluster.plaintext.allowed: means something only with security.inter.broker.protocol=SSL"))
	}
	return ids, errors.Join(errs...)
}

// openTLS reads all certificates, before anything listens, and begins to look for newer ones: forming or joining a cluster may take long, and be
// what they are waited for.
func (b *Broker) openTLS(context.Context) (err error) {
	b.identities, err = readTLS(b.cfg, b.dir.Meta.ClusterID, b.log.With("part", "tls"))
	if err == nil && b.cfg.Bool("cluster.plaintext.allowed") {
		b.log.Warn("cluster.plaintext.allowed: connections between brokers are protected only once it is false everywhere")
	}
	if err == nil {
		b.storage.Go(func() error { return b.runTLS(b.background) })
	}
	return err
}

// settleTLS has certificates between brokers be of the cluster that this broker is part of now.
func (b *Broker) settleTLS() error {
	if id := b.identities[config.ClusterListener]; id != nil {
		return id.CheckPeers(int32(b.node), b.quorum.ClusterID())
	}
	return nil
}

// runTLS looks for new files until ctx ends.
func (b *Broker) runTLS(ctx context.Context) error {
	if len(b.identities) == 0 {
		return nil
	}
	ticker := time.NewTicker(b.cfg.Duration("ssl.reload.interval.ms"))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, id := range b.identities {
			id.Reload()
		}
	}
}

// certificateWarning is how long before its end a certificate is told of.
const certificateWarning = 14 * 24 * time.Hour

// certificates are what is wrong, and what soon will be, with what this broker shows.
func (b *Broker) certificates() (problems, warnings []string) {
	for _, name := range secured(b.cfg) {
		s := b.identities[name].Status()
		left := time.Until(s.NotAfter)
		const remedy = "replace the file, a restart is not needed"
		switch {
		case s.Problem != "":
			problems = append(problems, fmt.Sprintf("listener %s of broker %d, which was asked: %s: %s", name, b.node, s.Problem, remedy))
		case left < 0:
			problems = append(problems, fmt.Sprintf("listener %s of broker %d, which was asked: a CA's certificate in its chain has expired on %s: %s", name, b.node, s.NotAfter.UTC().Format(time.RFC3339), remedy))
		case left < certificateWarning:
			warnings = append(warnings, fmt.Sprintf("the certificate of listener %s of broker %d, which was asked, ends on %s: %s", name, b.node, s.NotAfter.UTC().Format(time.RFC3339), remedy))
		}
		if s.Refused != "" {
			warnings = append(warnings, fmt.Sprintf("listener %s of broker %d, which was asked, goes on with older TLS files: %s", name, b.node, s.Refused))
		}
	}
	return problems, warnings
}

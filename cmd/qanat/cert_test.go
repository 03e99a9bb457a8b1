package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/broker"
	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/metadata/config"
)

// What is made for trying TLS would not be what brokers and clients need: roles, names, keys that others cannot read.
func TestCertDev(t *testing.T) {
	c := &cli{t: t}
	dir := filepath.Join(t.TempDir(), "certs")
	r := c.run("cert", "dev", "--dir", dir, "--nodes", "2", "--host", "kafka.example.com,10.1.2.3")
	if r.code != exitOK || strings.Count(r.out, "\n") != 7 {
		t.Fatalf("%+v", r)
	}
	for _, name := range []string{"broker-1", "broker-2", "client"} {
		text, err := os.ReadFile(filepath.Join(dir, name+".pem"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, name+"-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		if name == "client" {
			if _, err := secure.Roles(cert); err == nil || len(cert.DNSNames) > 0 {
				t.Error("the client's certificate says more than it should")
			}
			continue
		}
		for _, h := range []string{"localhost", "127.0.0.1", "kafka.example.com", "10.1.2.3"} {
			if err := cert.VerifyHostname(h); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if own, other := secure.Admit(cert, int32(name[7]-'0'), "any"), secure.Admit(cert, 3, "any"); own != nil || other == nil {
			t.Errorf("%s: %v, %v", name, own, other)
		}
	}
	for _, bad := range [][]string{{"--nodes", "0"}, {"--days", "0"}, {"x"}} {
		if r := c.run(append([]string{"cert", "dev", "--dir", dir}, bad...)...); r.code != exitUsage {
			t.Errorf("%v: %+v", bad, r)
		}
	}
}

// A development cluster with TLS would have configurations that do not start, or other certificates each time.
func TestDevNodesWithTLS(t *testing.T) {
	c := &cli{t: t}
	dir := t.TempDir()
	args := []string{"dev", "--tls", "--nodes", "3", "--dir", dir, "--listen", "127.0.0.1:19100", "--print-commands"}
	var made [2][]byte
	for i := range made {
		if r := c.run(args...); r.code != exitOK {
			t.Fatalf("%+v", r)
		}
		made[i], _ = os.ReadFile(filepath.Join(dir, "tls", "broker-3.pem"))
	}
	if len(made[0]) == 0 || !slices.Equal(made[0], made[1]) {
		t.Error("clients would have to trust another CA at every start")
	}
	cfg, err := config.Load(filepath.Join(dir, "node-3.yaml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.CheckTLS(cfg); err != nil {
		t.Error(err)
	}
	if l := cfg.Listeners(); len(l) != 1 || l[0].String() != "SSL://127.0.0.1:19102" || readDevNode(filepath.Join(dir, "node-3.yaml")).Listen != "127.0.0.1:19102" {
		t.Errorf("%v", l)
	}
}

package integration

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/secure/issue"
	"github.com/qanat-io/qanat/integration/harness"
)

// False if it failed: "a bundle of a running broker has state, metrics, logs, profiles and configuration, and none of its secrets; what it lacks it names".
func TestDebugBundle(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	b := startBroker(t, "admin.pprof.enable=true", "cluster.join.token=planted-token")
	dir := t.TempDir()
	config, log := filepath.Join(dir, "qanat.yaml"), filepath.Join(dir, "broker.log")
	for path, text := range map[string]string{
		config: "data.dir: " + b.Dir + "\ncluster.join.token: planted-token\nssl.key.password: planted-password\nbucket.url: dir:" + dir + "/bucket\n",
		log:    b.Tail(100) + "\nssl.key.password=planted-password\nthe token planted-token, and the variable planted-variable\n-----BEGIN PRIVATE KEY-----\nplanted-key\n-----END PRIVATE KEY-----\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	collect := func(out, admin string, more ...string) (map[string]string, []struct{ File, Error string }) {
		t.Helper()
		c := exec.CommandContext(ctx, qanat, append([]string{"debug", "bundle", "--admin-url", admin, "--out", out, "--profile", "1s", "-o", "json"}, more...)...)
		c.Env = append(harness.Environ(), "AWS_SECRET_ACCESS_KEY=planted-variable")
		if raw, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		files := untar(t, out)
		var contents []struct{ File, Error string }
		if err := json.Unmarshal([]byte(files["contents.json"]), &contents); err != nil {
			t.Fatal(err)
		}
		return files, contents
	}
	files, contents := collect(filepath.Join(dir, "bundle.tar.gz"), b.Admin, "--config", config, "--log", log)
	for _, i := range contents {
		if i.Error != "" {
			t.Errorf("%s is not there: %s", i.File, i.Error)
		}
	}
	for name, part := range map[string]string{
		"versions.json": `"go"`, "state/cluster.json": `"healthy"`, "state/brokers.json": `"id"`, "metrics.txt": "qanat_", "profiles/goroutine.txt": "goroutine ", "config.json": "ssl.key.password",
		"doctor.json": `"check"`, "log/broker.log": "the token (hidden)", "state/storage.json": "[", "profiles/cpu.pprof": "\x1f\x8b", "profiles/heap.pprof": "\x1f\x8b",
	} {
		if !strings.Contains(files[name], part) {
			t.Errorf("%s lacks %q:\n%.300s", name, part, files[name])
		}
	}
	for name, text := range files {
		if strings.Contains(text, "planted") {
			t.Errorf("%s holds a secret:\n%.2000s", name, text)
		}
	}

	// Nobody there, and nothing given.
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	_, contents = collect(filepath.Join(dir, "nobody.tar.gz"), b.Admin, "--unit", "no-such-unit-here", "--log", filepath.Join(dir, "no-such.log"))
	missing := 0
	for _, i := range contents {
		if i.Error != "" {
			missing++
		}
	}
	if want := len(contents) - 1; missing != want || want < 12 {
		t.Errorf("%d of %d are said to be missing, and only versions.json is there: %v", missing, len(contents), contents)
	}
}

func untar(t *testing.T, path string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "qanat-debug/")] = string(text)
	}
}

// False if it failed: "with the configuration alone, a bundle finds the admin port where the configuration has it, over TLS too, though the certificate names
// another host and the port wants one".
func TestDebugBundleFindsTheBroker(t *testing.T) {
	ctx := within(t, time.Minute)
	p := newPKI(t)
	p.write("broker-1", issue.Request{Hosts: []string{"broker-1.example.internal"}, Role: &secure.Role{Node: 1}})
	keys := append(p.sets(1), "admin.security.protocol=SSL", "listener.name.admin.ssl.client.auth=required")
	b := startBroker(t, keys...)
	text := "data.dir: " + b.Dir + "\nadmin.listener: " + b.Admin + "\n"
	for _, k := range keys {
		text += strings.Replace(k, "=", ": ", 1) + "\n"
	}
	dir := t.TempDir()
	config, out := filepath.Join(dir, "qanat.yaml"), filepath.Join(dir, "bundle.tar.gz")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(ctx, qanat, "debug", "bundle", "--config", config, "--out", out, "--profile", "1s", "--unit", "no-such-unit-here")
	c.Env = harness.Environ()
	told, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, told)
	}
	files := untar(t, out)
	for name, part := range map[string]string{"state/brokers.json": `"id"`, "metrics.txt": "qanat_", "state/storage.json": "["} {
		if !strings.Contains(files[name], part) {
			t.Errorf("%s lacks %q:\n%.300s\n%s", name, part, files[name], told)
		}
	}
}

package aws

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// certificateSet is what the example is given as its certificates.
type certificateSet struct{ dir, ca, json string }

func certificates(t *testing.T, ctx context.Context, bin string) certificateSet {
	t.Helper()
	dir := t.TempDir()
	args := []string{"cert", "dev", "--dir", dir, "--nodes", "3", "--host", "bootstrap.kafka.example.internal"}
	for id := 1; id <= 3; id++ {
		args = append(args, "--host", fmt.Sprintf("broker-%d.kafka.example.internal", id))
	}
	output(t, ctx, command(ctx, "", bin, args...))
	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	pairs := map[string]map[string]string{}
	for id := 1; id <= 3; id++ {
		pairs[fmt.Sprint(id)] = map[string]string{"certificate": read(fmt.Sprintf("broker-%d.pem", id)), "key": read(fmt.Sprintf("broker-%d-key.pem", id))}
	}
	raw, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	return certificateSet{dir: dir, ca: read("ca.pem"), json: string(raw)}
}

// artifact is an archive as `make dist` makes it.
type artifact struct{ path, sha256 string }

func pack(t *testing.T, ctx context.Context, bin string) artifact {
	t.Helper()
	dir := t.TempDir()
	inside := filepath.Join(dir, "qanat-test")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(inside, "qanat"), bin, 0o755)
	copyFile(t, filepath.Join(inside, "qanat.service"), root+"/cmd/qanat/packaging/qanat.service", 0o644)
	path := filepath.Join(dir, "qanat.tar.gz")
	output(t, ctx, command(ctx, dir, "tar", "-czf", path, "qanat-test"))
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return artifact{path: path, sha256: fmt.Sprintf("%x", sha256.Sum256(raw))}
}

// metadata answers as the service of that name on an instance: version 2 only, and with the role's credentials.
func metadata(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "10.78.0.254:0")
	if err != nil {
		t.Fatal(err)
	}
	const token = "a token of the test"
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path, base := r.URL.Path, "/latest/meta-data/iam/security-credentials/"; {
		case r.Method == http.MethodPut && path == "/latest/api/token" && r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") != "":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
			fmt.Fprint(w, token)
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != token:
			w.WriteHeader(http.StatusUnauthorized)
		case path == base:
			fmt.Fprint(w, "kafka-prod-broker")
		case path == base+"kafka-prod-broker":
			fmt.Fprintf(w, `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIATEST","SecretAccessKey":"test","Token":"session","Expiration":%q}`, time.Now().Add(6*time.Hour).UTC().Format(time.RFC3339))
		default:
			http.NotFound(w, r)
		}
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return "http://" + l.Addr().String()
}

// machine is one that an instance's user data make, with a loop device for its volume and a network of its own.
type machine struct {
	id, dir, loop, namespace string
	options                  []string
}

func (m *machine) script(ctx context.Context, do string, args ...string) (string, error) {
	c := command(ctx, root, "integration/scripts/machine", append([]string{do, m.dir}, args...)...)
	out, err := c.CombinedOutput()
	return string(out), err
}

func (m *machine) run(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	out, err := m.script(ctx, "run", args...)
	if err != nil {
		log, _ := m.script(context.WithoutCancel(ctx), "run", "journalctl", "--no-pager", "-n", "40", "-u", "qanat*", "-u", "qanat.service")
		t.Fatalf("broker %s: %s: %v\n%s\n%s", m.id, strings.Join(args, " "), err, out, log)
	}
	return out
}

// install gives the machine a new root, as a new instance has, and boots it.
func (m *machine) install(t *testing.T, ctx context.Context, artifact, userData, metadata string, hosts string) {
	t.Helper()
	clean := strings.TrimSpace(output(t, ctx, command(ctx, root, "integration/scripts/clean-root")))
	output(t, ctx, command(ctx, "", "cp", "-a", clean, m.dir))
	copyFile(t, filepath.Join(m.dir, "root/qanat.tar.gz"), artifact, 0o644)
	where := fmt.Sprintf("[Service]\nEnvironment=AWS_EC2_METADATA_SERVICE_ENDPOINT=%s AWS_ENDPOINT_URL=%s AWS_ENDPOINT_URL_SECRETS_MANAGER=%[2]s\n", metadata, os.Getenv("QANAT_TEST_AWS"))
	for name, text := range map[string]string{
		"root/user-data":  userData,
		"etc/hosts":       hosts,
		"etc/resolv.conf": "",
		"etc/systemd/system/qanat.service.d/90-test.conf":         where,
		"etc/systemd/system/qanat-secrets.service.d/90-test.conf": where,
	} {
		path := filepath.Join(m.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := m.script(ctx, "start", m.options...); err != nil {
		t.Fatalf("broker %s: %v\n%s", m.id, err, out)
	}
	m.run(t, ctx, "bash", "/root/user-data")
}

// machines runs the user data of all three brokers, as they are, and fails unless they are one cluster that keeps what it is given, also when one of the machines is
// replaced by a new one with the same volume.
func machines(t *testing.T, ctx context.Context, bin, artifact string, out production, a account) {
	service := metadata(t)
	hosts := "127.0.0.1 localhost\n"
	for id := range out.Brokers {
		hosts += fmt.Sprintf("10.78.0.%s broker-%[1]s.kafka.example.internal\n", id)
	}
	all := map[string]*machine{}
	for id, b := range out.Brokers {
		m := &machine{id: id, dir: filepath.Join(t.TempDir(), "machine-"+id), namespace: "broker-" + id}
		for _, args := range [][]string{
			{"netns", "add", m.namespace},
			{"link", "add", "veth-" + id, "type", "veth", "peer", "name", "eth0", "netns", m.namespace},
			{"link", "set", "veth-" + id, "master", "machines", "up"},
			{"-n", m.namespace, "addr", "add", "10.78.0." + id + "/24", "dev", "eth0"},
			{"-n", m.namespace, "link", "set", "eth0", "up"},
			{"-n", m.namespace, "link", "set", "lo", "up"},
		} {
			output(t, ctx, command(ctx, "", "ip", args...))
		}
		disk := m.dir + ".disk"
		output(t, ctx, command(ctx, "", "truncate", "-s", "1G", disk))
		m.loop = strings.TrimSpace(output(t, ctx, command(ctx, "", "losetup", "--show", "-f", disk)))
		t.Cleanup(func() {
			end := context.WithoutCancel(ctx)
			if _, err := os.Stat(m.dir + ".pid"); err == nil {
				_, _ = m.script(end, "stop")
			}
			_ = command(end, "", "losetup", "-d", m.loop).Run()
		})
		m.options = []string{"--network-namespace-path=/run/netns/" + m.namespace, "--hostname=broker-" + id,
			"--bind=" + m.loop + ":/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(b.Volume, "-", "")}
		all[id] = m
	}
	var each sync.WaitGroup
	for id, m := range all {
		each.Go(func() { m.install(t, ctx, artifact, a.Instances[out.Brokers[id].Instance].UserData, service, hosts) })
	}
	each.Wait()
	if t.Failed() {
		return
	}
	// As an operator does, from a machine that has the CA.
	first := all["1"]
	qanat := func(m *machine, args ...string) string {
		return m.run(t, ctx, append([]string{"env", "QANAT_TLS_CA=/etc/qanat/tls/ca.pem", "timeout", "120", "qanat"}, args...)...)
	}
	admin := func(id string) string { return "https://broker-" + id + ".kafka.example.internal:9644" }
	healthy := func() {
		t.Helper()
		for id, m := range all {
			m.run(t, ctx, "timeout", "100", "systemctl", "start", "qanat") // waits until it serves
			qanat(m, "cluster", "health", "--watch", "--timeout", "100s", "--admin-url", admin(id))
		}
	}
	healthy()
	var brokers []struct {
		ID          int
		State, Rack string
	}
	if err := json.Unmarshal([]byte(qanat(first, "broker", "list", "-o", "json", "--admin-url", admin("1"))), &brokers); err != nil {
		t.Fatal(err)
	}
	same(t, "brokers", fmt.Sprint(brokers), "[{1 active eu-central-1a} {2 active eu-central-1b} {3 active eu-central-1c}]")
	qanat(first, "topic", "create", "orders", "-p", "3", "--brokers", "broker-2.kafka.example.internal:9092")
	first.run(t, ctx, "sh", "-c", "echo kept | QANAT_TLS_CA=/etc/qanat/tls/ca.pem qanat produce orders --brokers broker-3.kafka.example.internal:9092")
	// The bucket, with the credentials that the instance is given. What they allow is not shown here: moto asks no role. Nor is the bucket's policy: moto takes a Deny whose
	// condition does not hold for one that does, and the policy denies what comes without TLS, so that it is away while the bucket is tried.
	policy := output(t, ctx, python(ctx, "lift-policy", out.Bucket.Name))
	for id, m := range all {
		var found []struct{ Check, Result, Text string }
		raw := m.run(t, ctx, "sh", "-c", "env -i PATH=/usr/bin:/bin AWS_EC2_METADATA_SERVICE_ENDPOINT="+service+" AWS_ENDPOINT_URL="+os.Getenv("QANAT_TEST_AWS")+" qanat doctor --config /etc/qanat/qanat.yaml -o json 2> /dev/null || true")
		if err := json.Unmarshal([]byte(raw), &found); err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		looked := false
		for _, f := range found {
			if strings.HasPrefix(f.Check, "bucket") {
				looked = true
				same(t, "broker "+id+": "+f.Check+": "+f.Text, f.Result, "ok")
			}
		}
		if !looked {
			t.Errorf("doctor does not look at the bucket: %s", raw)
		}
	}
	output(t, ctx, python(ctx, "put-policy", out.Bucket.Name, policy))

	// A new instance with the same volume: what is on it is neither formatted nor lost.
	third := all["3"]
	was := third.run(t, ctx, "sh", "-c", "blkid -s UUID -o value /dev/disk/by-id/*")
	if out, err := third.script(ctx, "stop"); err != nil {
		t.Fatal(err, out)
	}
	output(t, ctx, command(ctx, "", "rm", "-rf", "--one-file-system", third.dir))
	third.install(t, ctx, artifact, a.Instances[out.Brokers["3"].Instance].UserData, service, hosts)
	healthy()
	same(t, "the file system of a volume that had one", third.run(t, ctx, "sh", "-c", "blkid -s UUID -o value /dev/disk/by-id/*"), was)
	same(t, "what was kept", strings.TrimSpace(qanat(third, "consume", "orders", "-o", "start", "-n", "1", "-f", "%v", "--brokers", "broker-3.kafka.example.internal:9092")), "kept")
	foreign(t, ctx, third)
}

// foreign fails if a volume that holds anything but the broker's file system is formatted or mounted.
func foreign(t *testing.T, ctx context.Context, m *machine) {
	t.Helper()
	m.run(t, ctx, "systemctl", "stop", "qanat", "qanat-volume")
	m.run(t, ctx, "umount", "/var/lib/qanat")
	device := strings.TrimSpace(m.run(t, ctx, "sh", "-c", "readlink -f /dev/disk/by-id/*"))
	for _, what := range []struct{ name, make, says string }{
		{"another file system", "mkswap " + device, "not ext4"},
		{"bytes that nobody knows", "dd if=/dev/zero of=" + device + " bs=1M count=8 status=none; printf somebodys | dd of=" + device + " bs=1 seek=3000000 conv=notrunc status=none", "no file system"},
	} {
		m.run(t, ctx, "sh", "-c", what.make)
		sum := m.run(t, ctx, "sh", "-c", "head -c 8M "+device+" | sha256sum")
		out, err := m.script(ctx, "run", "sh", "-c", strings.TrimPrefix(m.run(t, ctx, "sed", "-n", "s/^ExecStart=//p", "/etc/systemd/system/qanat-volume.service"), "\n"))
		if err == nil || !strings.Contains(out, what.says) {
			t.Errorf("a volume with %s: %v\n%s", what.name, err, out)
		}
		same(t, "a volume with "+what.name, m.run(t, ctx, "sh", "-c", "head -c 8M "+device+" | sha256sum"), sum)
	}
}

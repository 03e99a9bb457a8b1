package aws

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
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

// machine is what an instance of the AWS that is not one is made to: a system with a loop device for its volume and a network of its own, booted with the user data.
type machine struct {
	id, dir, loop, namespace string
	// mu is held while it boots or is ended.
	mu sync.Mutex
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

// hypervisor stands between Terraform and moto's EC2, and makes a machine of each broker's instance: it boots when the instance is run, has its volume when
// that is attached, and is ended in order when the instance is terminated. It is the machines' metadata service, too, and writes down what happens, in order,
// among what the hooks ask of qanat.
type hypervisor struct {
	t             *testing.T
	ctx           context.Context
	url           string // EC2's endpoint, and the metadata service's
	command       string // qanat, as the hooks call it: what it is asked is written down
	bin, artifact string
	log           string
	hosts         string
	machines      map[string]*machine
	booting       sync.WaitGroup
	// terminated is called, with a node's id, before its machine is ended.
	terminated atomic.Pointer[func(string)]

	mu       sync.Mutex
	instance map[string]string // node → instance
}

const metadataToken = "a token of the test"

func newHypervisor(t *testing.T, ctx context.Context, bin, artifact string, ids []string) *hypervisor {
	t.Helper()
	dir := t.TempDir()
	h := &hypervisor{t: t, ctx: ctx, bin: bin, artifact: artifact, log: filepath.Join(dir, "log"), command: filepath.Join(dir, "qanat"), machines: map[string]*machine{}, instance: map[string]string{}}
	absolute, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.command, fmt.Appendf(nil, "#!/bin/sh\ncode=0\n%s \"$@\" || code=$?\necho \"qanat $* = $code\" >> %s\nexit $code\n", absolute, h.log), 0o755); err != nil {
		t.Fatal(err)
	}
	h.hosts = "127.0.0.1 localhost\n"
	for _, id := range ids {
		h.hosts += fmt.Sprintf("10.78.0.%s broker-%[1]s.kafka.example.internal\n", id)
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
			_ = m.end(end) // ended already, when the test went well
			_ = command(end, "", "losetup", "-d", m.loop).Run()
		})
		h.machines[id] = m
	}
	l, err := net.Listen("tcp", "10.78.0.254:0")
	if err != nil {
		t.Fatal(err)
	}
	h.url = "http://" + l.Addr().String()
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		h.booting.Wait()
		_ = s.Close()
	})
	return h
}

// happened writes a line down. Appends of one write each do not mix.
func (h *hypervisor) happened(what, id string) {
	f, err := os.OpenFile(h.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err == nil {
		_, err = fmt.Fprintf(f, "%s %s\n", what, id)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		h.t.Error(err)
	}
}

// events are the lines that have been written down.
func (h *hypervisor) events(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile(h.log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(raw)), "\n")
}

func (h *hypervisor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if path, ok := strings.CutPrefix(r.URL.Path, "/latest/"); ok {
		h.metadata(w, r, path)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	asked, err := url.ParseQuery(string(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if asked.Get("Action") == "TerminateInstances" {
		if id := h.node(asked.Get("InstanceId.1")); id != "" {
			if f := h.terminated.Load(); f != nil {
				(*f)(id)
			}
			h.happened("terminate", id)
			if err := h.machines[id].end(h.ctx); err != nil {
				h.t.Errorf("broker %s does not end: %v", id, err)
			}
		}
	}
	onward, err := http.NewRequestWithContext(r.Context(), r.Method, os.Getenv("QANAT_TEST_AWS")+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	onward.Header = r.Header.Clone()
	answer, err := http.DefaultClient.Do(onward)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	if answer.StatusCode == http.StatusOK {
		switch asked.Get("Action") {
		case "RunInstances":
			h.runs(asked, string(said))
		case "AttachVolume":
			h.attached(asked.Get("InstanceId"), asked.Get("VolumeId"))
		}
	}
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(said)
}

// node is whose instance it is, or empty.
func (h *hypervisor) node(instance string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, i := range h.instance {
		if i == instance {
			return id
		}
	}
	return ""
}

var instanceID = regexp.MustCompile(`<instanceId>(i-[0-9a-f]+)</instanceId>`)

// runs boots the machine of an instance that has been run.
func (h *hypervisor) runs(asked url.Values, said string) {
	id := ""
	for k, v := range asked {
		if v[0] == "qanat:node" {
			id = asked.Get(strings.TrimSuffix(k, ".Key") + ".Value")
		}
	}
	found := instanceID.FindStringSubmatch(said)
	data, err := base64.StdEncoding.DecodeString(asked.Get("UserData"))
	m := h.machines[id]
	if err != nil || m == nil || found == nil {
		h.t.Errorf("an instance of broker %q is run: %v\n%s", id, err, said)
		return
	}
	h.mu.Lock()
	h.instance[id] = found[1]
	h.mu.Unlock()
	h.happened("run", id)
	h.booting.Go(func() {
		if err := h.boot(m, string(data)); err != nil {
			h.t.Errorf("broker %s: %v", id, err)
		}
	})
}

// boot gives the machine a new root, as a new instance has, and boots it with its user data.
func (h *hypervisor) boot(m *machine, userData string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clean, err := command(h.ctx, root, "integration/scripts/clean-root").Output()
	if err != nil {
		return err
	}
	upper, work := m.dir+".upper", m.dir+".work"
	for _, d := range []string{m.dir, upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.TrimSpace(string(clean)), upper, work)
	if out, err := command(h.ctx, "", "mount", "-t", "overlay", "overlay", "-o", layers, m.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	where := fmt.Sprintf("[Service]\nEnvironment=AWS_EC2_METADATA_SERVICE_ENDPOINT=%s AWS_ENDPOINT_URL_EC2=%[1]s AWS_ENDPOINT_URL=%s AWS_ENDPOINT_URL_SECRETS_MANAGER=%[2]s\n", h.url, os.Getenv("QANAT_TEST_AWS"))
	archive, err := os.ReadFile(h.artifact)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"root/qanat.tar.gz": string(archive),
		"root/user-data":    userData,
		"etc/hosts":         h.hosts,
		"etc/resolv.conf":   "",
		"etc/systemd/system/qanat.service.d/90-test.conf":         where,
		"etc/systemd/system/qanat-secrets.service.d/90-test.conf": where,
		"etc/systemd/system/qanat-volume.service.d/90-test.conf":  where,
	} {
		path := filepath.Join(m.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			return err
		}
	}
	if out, err := m.script(h.ctx, "start", "--network-namespace-path=/run/netns/"+m.namespace, "--hostname=broker-"+m.id, "--bind="+m.loop+":/dev/its-volume"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if out, err := m.script(h.ctx, "run", "bash", "/root/user-data"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// attached gives the machine of an instance its volume, under the name that it has on EC2.
func (h *hypervisor) attached(instance, volume string) {
	id := h.node(instance)
	if id == "" {
		h.t.Errorf("volume %s is attached to %s, which is no broker's", volume, instance)
		return
	}
	out, err := h.machines[id].script(h.ctx, "run", "sh", "-c", "mkdir -p /dev/disk/by-id && ln -sf /dev/its-volume /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"+strings.ReplaceAll(volume, "-", ""))
	if err != nil {
		h.t.Errorf("broker %s: %v\n%s", id, err, out)
	}
	h.happened("attach", id)
}

// metadata answers as the service of that name on an instance: version 2 only, and with the role's credentials.
func (h *hypervisor) metadata(w http.ResponseWriter, r *http.Request, path string) {
	const credentials = "meta-data/iam/security-credentials/"
	const ttl = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	id := strings.TrimPrefix(from, "10.78.0.")
	role := "kafka-prod-broker-" + id
	switch {
	case r.Method == http.MethodPut && path == "api/token" && r.Header.Get(ttl) != "":
		w.Header().Set(ttl, r.Header.Get(ttl))
		fmt.Fprint(w, metadataToken)
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") != metadataToken:
		w.WriteHeader(http.StatusUnauthorized)
	case path == "meta-data/instance-id":
		h.mu.Lock()
		defer h.mu.Unlock()
		fmt.Fprint(w, h.instance[id])
	case path == credentials:
		fmt.Fprint(w, role)
	case path == credentials+role:
		fmt.Fprintf(w, `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIATEST","SecretAccessKey":"test","Token":"session","Expiration":%q}`, time.Now().Add(6*time.Hour).UTC().Format(time.RFC3339))
	default:
		http.NotFound(w, r)
	}
}

// apply applies, and fails with what the machines say when that fails.
func (h *hypervisor) apply(t *testing.T, ctx context.Context, s *stack) string {
	t.Helper()
	out, err := s.run(ctx, "apply", "-auto-approve", "-input=false")
	if err != nil {
		for _, m := range h.machines {
			log, _ := m.script(context.WithoutCancel(ctx), "run", "journalctl", "--no-pager", "-n", "30", "-u", "qanat*", "-u", "qanat.service")
			out += fmt.Sprintf("\nbroker %s:\n%s", m.id, log)
		}
		t.Fatalf("apply: %v\n%s\n%s", err, out, strings.Join(h.events(t), "\n"))
	}
	return out
}

// end powers the machine off, and its root goes; what is on its volume stays. One that is not there is fine.
func (m *machine) end(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := os.Stat(m.dir + ".pid"); err != nil {
		return nil
	}
	if out, err := m.script(ctx, "stop"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if out, err := command(ctx, "", "umount", m.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return errors.Join(os.RemoveAll(m.dir+".upper"), os.RemoveAll(m.dir+".work"), os.Remove(m.dir))
}

// qanat runs the command line on a machine, as an operator does who has the CA.
func (m *machine) qanat(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	return m.run(t, ctx, append([]string{"env", "QANAT_TLS_CA=/etc/qanat/tls/ca.pem", "timeout", "120", "qanat"}, args...)...)
}

// cluster fails unless the three machines are one cluster, whose brokers reach the bucket with what the metadata service gives them.
func cluster(t *testing.T, ctx context.Context, h *hypervisor, s *stack, out production) {
	t.Helper()
	first := h.machines["1"]
	var brokers []struct {
		ID          int
		State, Rack string
	}
	if err := json.Unmarshal([]byte(first.qanat(t, ctx, "broker", "list", "-o", "json", "--admin-url", out.Brokers["1"].Admin)), &brokers); err != nil {
		t.Fatal(err)
	}
	same(t, "brokers", fmt.Sprint(brokers), "[{1 active eu-central-1a} {2 active eu-central-1b} {3 active eu-central-1c}]")
	first.qanat(t, ctx, "topic", "create", "orders", "-p", "3", "--brokers", out.Brokers["2"].Kafka)
	// The bucket, with the credentials that the instance is given. What they allow is not shown here: moto asks no role. Nor is the bucket's policy: moto takes a Deny whose
	// condition does not hold for one that does, and the policy denies what comes without TLS, so that it is away while the bucket is tried.
	policy := output(t, ctx, s.region.python(ctx, "lift-policy", out.Bucket.Name))
	for id, m := range h.machines {
		var found []struct{ Check, Result, Text string }
		raw := m.run(t, ctx, "sh", "-c", "env -i PATH=/usr/bin:/bin AWS_EC2_METADATA_SERVICE_ENDPOINT="+h.url+" AWS_ENDPOINT_URL="+os.Getenv("QANAT_TEST_AWS")+" qanat doctor --config /etc/qanat/qanat.yaml -o json 2> /dev/null || true")
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
	output(t, ctx, s.region.python(ctx, "put-policy", out.Bucket.Name, policy))
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

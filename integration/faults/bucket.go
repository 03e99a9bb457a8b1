package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/qanat-io/qanat/integration/harness"
)

// store is a real S3 server and the proxy before it; all zero when the system has no bucket.
type store struct {
	url     string
	objects string // where the server keeps them
	proxy   *harness.S3Proxy
	server  *exec.Cmd
}

// bucket starts what the system's nodes keep their objects in.
func (r *run) bucket() (*store, error) {
	if r.system != "qanat" || r.s3 == "" {
		return &store{}, nil
	}
	if !executable(r.s3) {
		return nil, fmt.Errorf("no S3 server at %s: make s3server builds it", r.s3)
	}
	root := filepath.Join(r.dir, "s3")
	if err := os.MkdirAll(filepath.Join(root, "qanat"), 0o755); err != nil {
		return nil, err
	}
	host := "127.0.0.1"
	address, err := harness.FreeAddress()
	if err != nil {
		return nil, err
	}
	// Nodes in networks of their own reach the harness at its address on the hub, once that is up.
	if os.Geteuid() == 0 {
		host = "0.0.0.0"
	}
	credentials := map[string]string{"AWS_ACCESS_KEY_ID": "qanat", "AWS_SECRET_ACCESS_KEY": "qanatsecret", "AWS_REGION": "us-east-1"}
	for k, v := range credentials {
		if err := os.Setenv(k, v); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(filepath.Join(r.dir, "s3.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	server := exec.Command(r.s3, "--port", address, "--region", "us-east-1", "--quiet", "posix", root)
	server.Env = append(os.Environ(), "ROOT_ACCESS_KEY=qanat", "ROOT_SECRET_KEY=qanatsecret")
	server.Stdout, server.Stderr = log, log
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		return nil, fmt.Errorf("start the S3 server: %w", err)
	}
	s := &store{server: server, objects: filepath.Join(root, "qanat", "faults")}
	if err := listens(address, 30*time.Second); err != nil {
		s.close()
		return nil, err
	}
	if s.proxy, err = harness.NewS3ProxyAt(net.JoinHostPort(host, "15999"), "http://"+address); err != nil {
		s.close()
		return nil, err
	}
	if host == "0.0.0.0" {
		host = "10.77.0.254"
	}
	s.url = "minio://qanat/faults?endpoint=http://" + net.JoinHostPort(host, "15999")
	return s, nil
}

// listens waits until something does.
func listens(address string, within time.Duration) error {
	for end := time.Now().Add(within); ; {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("nothing listens: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *store) close() {
	if s.proxy != nil {
		_ = s.proxy.Close() // nothing is left to lose
	}
	if s.server != nil {
		_ = s.server.Process.Kill()
		var exit *exec.ExitError
		if err := s.server.Wait(); err != nil && !errors.As(err, &exit) {
			fmt.Fprintln(os.Stderr, "faults: S3 server:", err)
		}
	}
}

// copyData saves the nodes' data from volumes that end with this process, as far as the disks give it.
func (r *run) copyData() error {
	disks, err := filepath.Glob(filepath.Join(r.dir, "node*", "disk", "data"))
	if err != nil {
		return err
	}
	for _, d := range disks {
		to := filepath.Join(filepath.Dir(filepath.Dir(d)), "kept")
		if out, err := exec.Command("cp", "-a", d, to).CombinedOutput(); err != nil {
			r.logf("not all of %s is kept: %v: %s", d, err, out)
		}
	}
	return nil
}

// Command gen writes docs/runbooks.md and examples/telemetry. It is run by go generate in broker/telemetry/dashboards.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/qanat-io/qanat/broker/telemetry/dashboards"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	const top = "../../.."
	files, err := dashboards.Examples()
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(top, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

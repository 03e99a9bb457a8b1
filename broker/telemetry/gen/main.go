// Command gen writes docs/metrics.md from the declarations of metrics. It is
// run by go generate in broker/telemetry.
package main

import (
	"fmt"
	"os"

	"github.com/qanat-io/qanat/broker/telemetry"
)

func main() {
	if err := os.WriteFile("../../docs/metrics.md", []byte(telemetry.Markdown()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

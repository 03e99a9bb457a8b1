// Command gen writes docs/configuration.md from the registry of keys. It is
// run by go generate in metadata/config.
package main

import (
	"fmt"
	"os"

	"github.com/qanat-io/qanat/metadata/config"
)

func main() {
	if err := os.WriteFile("../../docs/configuration.md", []byte(config.Markdown()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

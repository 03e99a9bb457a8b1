// The program terraform-provider-qanat, which Terraform starts; the provider is in terraform/provider.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"runtime/debug"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/qanat-io/qanat/terraform/provider"
)

// version is set when the program is linked.
var version = "dev"

func main() {
	wait := flag.Bool("debug", false, "wait for a debugger, and print what Terraform is to be told")
	flag.Parse()
	quieten()
	debug.SetGCPercent(800) // a process that lives for seconds, on some tens of MB
	err := providerserver.Serve(context.Background(), provider.New(version, os.Getenv), providerserver.ServeOpts{Address: provider.Address, Debug: *wait})
	if err != nil {
		log.Fatal(err)
	}
}

// quieten has the framework write no trace when nobody has asked Terraform for a log. It would write it all the same, for Terraform to throw away:
// half of the time that a plan takes.
func quieten() {
	for _, name := range []string{"TF_LOG", "TF_LOG_PROVIDER", "TF_LOG_SDK", "TF_LOG_SDK_PROTO", "TF_LOG_SDK_FRAMEWORK"} {
		if os.Getenv(name) != "" {
			return
		}
	}
	for _, name := range []string{"TF_LOG_SDK", "TF_LOG_SDK_PROTO", "TF_LOG_SDK_FRAMEWORK"} {
		_ = os.Setenv(name, "OFF") // it is a name
	}
}

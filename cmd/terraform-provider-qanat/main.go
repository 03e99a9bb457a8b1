// The program terraform-provider-qanat, which Terraform starts; the provider is in terraform/provider.
package main

import (
	"flag"
	"log"
	"os"
	"runtime/debug"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"

	"github.com/qanat-io/qanat/terraform/provider"
)

// version is set when the program is linked.
var version = "dev"

func main() {
	wait := flag.Bool("debug", false, "wait for a debugger, and print what Terraform is to be told")
	flag.Parse()
	quieten()
	debug.SetGCPercent(800) // a process that lives for seconds, on some tens of MB
	var options []tf6server.ServeOpt
	if *wait {
		options = append(options, tf6server.WithManagedDebug())
	}
	if err := tf6server.Serve(provider.Address, provider.NewServer(version, os.Getenv), options...); err != nil {
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

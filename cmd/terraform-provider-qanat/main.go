// The program terraform-provider-qanat, which Terraform starts; the provider is in terraform/provider.
package main

import (
	"context"
	"flag"
	"log"
	"os"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/qanat-io/qanat/terraform/provider"
)

// version is set when the program is linked.
var version = "dev"

func main() {
	debug := flag.Bool("debug", false, "wait for a debugger, and print what Terraform is to be told")
	flag.Parse()
	err := providerserver.Serve(context.Background(), provider.New(version, os.Getenv), providerserver.ServeOpts{Address: provider.Address, Debug: *debug})
	if err != nil {
		log.Fatal(err)
	}
}

# Three brokers on this machine, with TLS, a topic on them, and where to find them: make build, then
#
#   terraform get && terraform apply
#   terraform apply -replace='module.cluster.terraform_data.broker["2"]'   # replaced, while clients go on
#   terraform destroy
#
# The provider is not in a registry yet: go install ./cmd/terraform-provider-qanat, and name its directory under dev_overrides in ~/.terraformrc; then there is no terraform init.

terraform {
  required_version = ">= 1.9"
  required_providers {
    qanat = {
      source = "qanat-io/qanat"
    }
  }
}

module "cluster" {
  source = "../"

  name  = "example"
  qanat = "${path.module}/../../../../bin/qanat"

  brokers = {
    "1" = { az = "a" }
    "2" = { az = "b" }
    "3" = { az = "c" }
  }
}

provider "qanat" {
  bootstrap_servers = module.cluster.provider.bootstrap_servers
  tls               = module.cluster.provider.tls
  allow_deletion    = true
}

resource "qanat_topic" "orders" {
  name               = "orders"
  partitions         = 6
  replication_factor = 3

  depends_on = [module.cluster]
}

output "clients" {
  value = "bootstrap.servers=${module.cluster.bootstrap} ssl.ca.location=${module.cluster.ca}"
}

terraform {
  required_version = ">= 1.0"
  required_providers {
    qanat = {
      source = "qanat-io/qanat"
    }
  }
}

provider "qanat" {
  bootstrap_servers = "kafka-1.example.org:9093,kafka-2.example.org:9093"
  tls = {
    ca = "ca.pem"
  }
}

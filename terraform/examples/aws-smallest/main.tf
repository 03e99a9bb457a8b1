# The smallest: one broker in an existing VPC, its bucket, names and volume. Nothing is encrypted on the network, and one broker is one copy of the last minutes:
# for trying it. docs/deploy-aws.md goes on from here to ../aws-production.
#
#   terraform init
#   terraform apply -var vpc=vpc-… -var 'subnet={az="eu-central-1a",id="subnet-…",cidr="10.0.0.0/16"}' -var ami=ami-… -var 'artifact={url="https://…",sha256="…"}'

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 6.0"
    }
  }
}

provider "aws" {}

variable "vpc" {
  description = "Id of the VPC."
  type        = string
}

variable "subnet" {
  description = "Where the broker is, and from where clients come."
  type        = object({ az = string, id = string, cidr = string })
}

variable "ami" {
  description = "Debian 12, Ubuntu 22.04, Amazon Linux 2023 or later, for arm64."
  type        = string
}

variable "artifact" {
  description = "The linux/arm64 archive of a release, and its SHA-256."
  type        = object({ url = string, sha256 = string })
}

variable "command" {
  description = "How qanat is called on this machine, to wait until the broker is there; \"\" where its admin port is not reached from here."
  type        = string
  default     = "qanat"
}

module "qanat" {
  source = "../../modules/aws"

  name     = "qanat-try"
  vpc      = var.vpc
  subnets  = { (var.subnet.az) = var.subnet.id }
  brokers  = { "1" = { az = var.subnet.az, instance_type = "t4g.small" } }
  ami      = var.ami
  artifact = var.artifact
  dns      = { domain = "qanat-try.internal" }
  access   = { client_cidrs = [var.subnet.cidr], admin_cidrs = [var.subnet.cidr] }
  volume   = { gib = 20, final_snapshot = false }
  bucket   = { force_destroy = true }
  rolling  = { command = var.command }
}

output "bootstrap" { value = module.qanat.bootstrap }
output "brokers" { value = module.qanat.brokers }
output "bucket" { value = module.qanat.bucket }

# Three brokers in three zones: TLS everywhere, a KMS key, history below a prefix of a bucket, telemetry pushed to a collector. The VPC with its subnets, the key
# and the certificates are somebody else's: given as variables. The keys of certificates and the token are ephemeral: no state or plan holds them.
#
#   export TF_VAR_certificates="$(cat certificates.json)" TF_VAR_join_token="$(cat token)"     # docs/deploy-aws.md makes them
#   terraform apply -var-file production.tfvars

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

variable "vpc" { type = string }
variable "subnets" { type = map(string) }
variable "route_tables" { type = set(string) }
variable "ami" { type = string }
variable "artifact" { type = object({ url = string, sha256 = string }) }
variable "kms_key" { type = string }
variable "ca" { type = string }
variable "client_cidr" { type = string }
variable "admin_cidr" { type = string }
variable "collector" { type = string }

variable "instance_type" {
  type    = string
  default = "m7g.xlarge"
}

variable "command" {
  type    = string
  default = "qanat"
}

variable "certificates" {
  type      = map(object({ certificate = string, key = string }))
  ephemeral = true
}

variable "join_token" {
  type      = string
  ephemeral = true
}

locals {
  zones = sort(keys(var.subnets))
}

module "qanat" {
  source = "../../modules/aws"

  name         = "kafka-prod"
  vpc          = var.vpc
  subnets      = var.subnets
  route_tables = var.route_tables

  brokers = {
    "1" = { az = local.zones[0], instance_type = var.instance_type }
    "2" = { az = local.zones[1], instance_type = var.instance_type }
    "3" = { az = local.zones[2], instance_type = var.instance_type }
  }
  ami      = var.ami
  artifact = var.artifact

  volume  = { gib = 500, iops = 6000, throughput = 500 }
  bucket  = { prefix = "kafka-prod" }
  kms_key = var.kms_key

  dns    = { domain = "kafka.example.internal" }
  access = { client_cidrs = [var.client_cidr], admin_cidrs = [var.admin_cidr] }

  tls                = { ca = var.ca, client_auth = "requested", version = 1 }
  certificates       = var.certificates
  join_token         = var.join_token
  join_token_version = 1

  config = {
    "auto.create.topics.enable" = "false"
    "log.retention.hours"       = "720"
    "cluster.balance"           = "on"
  }
  otlp_endpoint = var.collector
  rolling       = { command = var.command }
  tags          = { team = "platform", environment = "production" }
}

output "bootstrap" { value = module.qanat.bootstrap }
output "brokers" { value = module.qanat.brokers }
output "bucket" { value = module.qanat.bucket }
output "roles" { value = module.qanat.roles }
output "ca_secret" { value = module.qanat.ca_secret }
output "secrets" { value = module.qanat.secrets }
output "provider" { value = module.qanat.provider }
output "user_data" { value = module.qanat.user_data }

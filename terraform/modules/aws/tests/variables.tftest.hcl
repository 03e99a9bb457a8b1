# False if it failed: "variables that contradict each other are refused by the plan, each of them, and others are not". A run takes seconds, so that each has
# several contradictions, of different variables; two of the same variable are in different runs.
mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  name     = "kafka"
  vpc      = "vpc-1"
  subnets  = { "eu-central-1a" = "subnet-a", "eu-central-1b" = "subnet-b", "eu-central-1c" = "subnet-c" }
  brokers  = { "1" = { az = "eu-central-1a" }, "2" = { az = "eu-central-1b" }, "3" = { az = "eu-central-1c" } }
  ami      = "ami-1"
  artifact = { url = "https://example.org/qanat_1.0.0_linux_arm64.tar.gz", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  dns      = { domain = "kafka.example.internal" }
}

run "well" {
  command = plan
  assert {
    condition     = output.bootstrap == "bootstrap.kafka.example.internal:9092"
    error_message = "bootstrap"
  }
  assert {
    condition     = join(",", keys(output.brokers)) == "1,2,3"
    error_message = "brokers"
  }
  assert {
    condition     = length(aws_ebs_volume.data) == 3 && aws_ebs_volume.data["2"].type == "gp3" && aws_ebs_volume.data["2"].encrypted && aws_ebs_volume.data["2"].availability_zone == "eu-central-1b"
    error_message = "volumes"
  }
  assert {
    condition     = alltrue([for i in aws_instance.broker : one(i.metadata_options).http_tokens == "required"])
    error_message = "IMDSv2"
  }
  assert {
    condition     = length(aws_vpc_endpoint.s3) == 0 && length(aws_route53_zone.private) == 1
    error_message = "no endpoint without route tables; a zone without one"
  }
}

run "voters_do_not_change_with_growth" {
  command = plan
  variables {
    brokers = {
      "1"  = { az = "eu-central-1a" }, "2" = { az = "eu-central-1b" }, "3" = { az = "eu-central-1c" }, "4" = { az = "eu-central-1a" },
      "10" = { az = "eu-central-1b" }
    }
  }
  assert {
    condition     = local.common["cluster.peers"] == "1@broker-1.kafka.example.internal:9645,2@broker-2.kafka.example.internal:9645,3@broker-3.kafka.example.internal:9645"
    error_message = "cluster.peers is ${local.common["cluster.peers"]}"
  }
  assert {
    condition     = local.ids[3] == "4" && local.ids[4] == "10"
    error_message = "node ids are numbers, in order"
  }
}

run "existing_bucket_is_left_alone" {
  command = plan
  variables {
    bucket = { create = false, name = "ours", prefix = "a/b" }
  }
  assert {
    condition     = length(aws_s3_bucket.history) + length(aws_s3_bucket_policy.history) + length(aws_s3_bucket_lifecycle_configuration.history) == 0 && local.common["bucket.url"] == "s3://ours/a/b?region=eu-central-1" && local.objects == "arn:aws:s3:::ours/a/b/*"
    error_message = "${local.common["bucket.url"]}, ${local.objects}"
  }
}

# Two voters; a bucket without a name; an address without checksum; throughput beyond iops; an alias; an admin port for everybody; the module's own keys;
# a drain that nobody can take; a file's name for its text; a collector without scheme.
run "contradictions_1" {
  command = plan
  variables {
    voters        = ["1", "2"]
    bucket        = { create = false }
    artifact      = { url = "https://example.org/qanat.tar.gz", sha256 = "?" }
    volume        = { throughput = 1000 }
    kms_key       = "alias/ours"
    access        = { admin_cidrs = ["0.0.0.0/0"] }
    config        = { "cluster.peers" = "1@elsewhere:9645" }
    rolling       = { drain = true }
    tls           = { ca = "ca.pem" }
    otlp_endpoint = "collector:4317"
  }
  expect_failures = [
    var.voters, var.bucket, var.artifact, var.volume, var.kms_key, var.access, var.config, var.rolling, var.tls, var.otlp_endpoint,
  ]
}

# A voter that is none of the brokers; somebody's bucket emptied; plain http; iops beyond the size; a security group among networks; more replicas than
# brokers; brokers that take all of terraform's places; an unknown client_auth.
run "contradictions_2" {
  command = plan
  variables {
    voters   = ["7"]
    bucket   = { create = false, name = "ours", force_destroy = true }
    artifact = { url = "http://example.org/qanat.tar.gz", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
    volume   = { gib = 10, iops = 16000 }
    access   = { client_cidrs = ["sg-1"] }
    config   = { "default.replication.factor" = "4" }
    rolling  = { parallelism = 3 }
    tls      = { ca = "-----BEGIN CERTIFICATE-----", client_auth = "always" }
  }
  expect_failures = [var.voters, var.bucket, var.artifact, var.volume, var.access, var.config, var.rolling, var.tls]
}

# A zone without subnet; a prefix that begins with /.
run "contradictions_3" {
  command = plan
  variables {
    brokers = { "1" = { az = "eu-central-1f" } }
    bucket  = { prefix = "/a" }
  }
  expect_failures = [var.brokers, var.bucket]
}

# More in sync than replicas; a public address without TLS.
run "contradictions_4" {
  command = plan
  variables {
    config = { "min.insync.replicas" = "3", "default.replication.factor" = "2" }
    public = true
  }
  expect_failures = [var.config, var.public]
}

# A name in capitals; a public address with a private zone.
run "contradictions_5" {
  command = plan
  variables {
    name   = "Kafka"
    public = true
    tls    = { ca = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", version = 0 }
  }
  expect_failures = [var.name, var.dns]
}

run "node_id_is_a_number" {
  command = plan
  variables {
    brokers = { "one" = { az = "eu-central-1a" } }
  }
  expect_failures = [var.brokers]
}

run "tls_and_token" {
  command = plan
  variables {
    tls = { ca = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----" }
    certificates = {
      "1" = { certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", key = "-----BEGIN EC PRIVATE KEY-----\nMA==\n-----END EC PRIVATE KEY-----" }
      "2" = { certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", key = "-----BEGIN EC PRIVATE KEY-----\nMA==\n-----END EC PRIVATE KEY-----" }
      "3" = { certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", key = "-----BEGIN EC PRIVATE KEY-----\nMA==\n-----END EC PRIVATE KEY-----" }
    }
    join_token         = "something long enough"
    join_token_version = 1
  }
  assert {
    condition     = length(aws_secretsmanager_secret_version.broker) == 3 && length(aws_secretsmanager_secret_version.join_token) == 1
    error_message = "secrets"
  }
}

# One broker without a certificate; a token's version without the token; a voter twice; no GiB; replicas in words; IPv6; a name that AWS
# takes for its own; a bucket in capitals; no time to wait.
run "contradictions_6" {
  command = plan
  variables {
    tls                = { ca = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----" }
    certificates       = { "1" = { certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", key = "-----BEGIN EC PRIVATE KEY-----\nMA==\n-----END EC PRIVATE KEY-----" }, "2" = { certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", key = "-----BEGIN EC PRIVATE KEY-----\nMA==\n-----END EC PRIVATE KEY-----" } }
    join_token_version = 1
    voters             = ["1", "1", "2"]
    volume             = { gib = 0 }
    config             = { "default.replication.factor" = "three" }
    access             = { client_cidrs = ["2001:db8::/32"] }
    name               = "internal-kafka"
    bucket             = { name = "Ours" }
    rolling            = { timeout = 0 }
  }
  expect_failures = [
    var.certificates, var.join_token, var.voters, var.volume, var.config, var.access, var.name, var.bucket, var.rolling,
  ]
}

# Certificates and a token that would go nowhere, so that nothing is encrypted and anybody joins; a machine's address for a network's.
run "contradictions_7" {
  command = plan
  variables {
    certificates = { "1" = { certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", key = "-----BEGIN EC PRIVATE KEY-----\nMA==\n-----END EC PRIVATE KEY-----" } }
    join_token   = "something long enough"
    access       = { admin_cidrs = ["10.0.0.1/16"] }
  }
  expect_failures = [var.certificates, var.join_token, var.access]
}

# Versions below none.
run "contradictions_8" {
  command = plan
  variables {
    tls                = { ca = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", version = -1 }
    join_token_version = -1
  }
  expect_failures = [var.tls, var.join_token_version]
}

# No certificates at all; a token that is guessed.
run "contradictions_9" {
  command = plan
  variables {
    tls                = { ca = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----" }
    join_token         = "secret"
    join_token_version = 1
  }
  expect_failures = [var.certificates, var.join_token]
}

# A subnet of two zones. What looks at a variable that is refused is not looked at: so it is alone here, and what follows as well.
run "contradictions_10" {
  command = plan
  variables {
    subnets = { "eu-central-1a" = "subnet-a", "eu-central-1b" = "subnet-a", "eu-central-1c" = "subnet-c" }
  }
  expect_failures = [var.subnets]
}

# Part of a GiB.
run "contradictions_11" {
  command = plan
  variables {
    brokers = { "1" = { az = "eu-central-1a", volume_gib = 0.5 } }
  }
  expect_failures = [var.brokers]
}

# Names of files for their text.
run "contradictions_12" {
  command = plan
  variables {
    brokers      = { "1" = { az = "eu-central-1a" } }
    tls          = { ca = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----" }
    certificates = { "1" = { certificate = "broker-1.pem", key = "broker-1-key.pem" } }
  }
  expect_failures = [var.certificates]
}

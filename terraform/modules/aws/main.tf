# One file for each concern: network.tf (addresses, names, who may connect), storage.tf (volumes, bucket), secrets.tf, brokers.tf (instances, and how
# they are replaced). What follows from the inputs and is needed in several of them is here.

data "aws_region" "here" {}
data "aws_partition" "here" {}
data "aws_caller_identity" "here" {}

locals {
  ids = [for n in sort([for id in keys(var.brokers) : format("%09d", tonumber(id))]) : tostring(tonumber(n))]

  # Never more than three by themselves: a change of cluster.peers replaces every broker, and growth from three on must not.
  voters = var.voters != null ? var.voters : slice(local.ids, 0, length(local.ids) >= 3 ? 3 : 1)

  hosts  = { for id in local.ids : id => "broker-${id}.${var.dns.domain}" }
  region = data.aws_region.here.name

  kafka_port   = 9092
  admin_port   = 9644
  cluster_port = 9645

  listener = var.tls == null ? "PLAINTEXT" : "SSL"
  scheme   = var.tls == null ? "http" : "https"

  tags = merge(var.tags, { "qanat:cluster" = var.name })

  # All topics on three brokers, or on as many as there are; all but one must have what is acknowledged.
  replicas = min(3, length(local.ids))
  common = merge(
    {
      "data.dir"                   = "/var/lib/qanat"
      "cluster.listener"           = "0.0.0.0:${local.cluster_port}"
      "cluster.peers"              = join(",", [for id in local.voters : "${id}@${local.hosts[id]}:${local.cluster_port}"])
      "admin.listener"             = "0.0.0.0:${local.admin_port}"
      "listeners"                  = "${local.listener}://0.0.0.0:${local.kafka_port}"
      "bucket.url"                 = "s3://${local.bucket}${var.bucket.prefix == "" ? "" : "/${var.bucket.prefix}"}?region=${local.region}"
      "default.replication.factor" = tostring(local.replicas)
      "min.insync.replicas"        = tostring(max(1, local.replicas - 1))
    },
    var.tls == null ? {} : {
      "security.inter.broker.protocol" = "SSL"
      "admin.security.protocol"        = "SSL"
      "ssl.keystore.certificate.chain" = "/etc/qanat/tls/broker.pem"
      "ssl.keystore.key"               = "/etc/qanat/tls/broker-key.pem"
      "ssl.truststore.location"        = "/etc/qanat/tls/ca.pem"
      "ssl.client.auth"                = var.tls.client_auth
      # The load balancer's health checks show none.
      "listener.name.admin.ssl.client.auth" = "none"
    },
    var.config,
  )
  config = { for id in local.ids : id => merge(local.common, {
    "node.id"              = id
    "broker.rack"          = var.brokers[id].az
    "advertised.listeners" = "${local.listener}://${local.hosts[id]}:${local.kafka_port}"
    "cluster.advertised"   = "${local.hosts[id]}:${local.cluster_port}"
    "admin.allowed.hosts"  = local.hosts[id]
  }) }
}

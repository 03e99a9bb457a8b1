output "bootstrap" {
  description = "bootstrap.servers of clients."
  value       = "bootstrap.${var.dns.domain}:${local.kafka_port}"
}

output "brokers" {
  description = "node.id → the broker's addresses and parts."
  value = { for id in local.ids : id => {
    kafka    = "${local.hosts[id]}:${local.kafka_port}"
    admin    = "${local.scheme}://${local.hosts[id]}:${local.admin_port}"
    address  = aws_network_interface.broker[id].private_ip
    az       = var.brokers[id].az
    instance = aws_instance.broker[id].id
    volume   = aws_ebs_volume.data[id].id
  } }
}

output "bucket" {
  description = "Where history is."
  value       = { name = local.bucket, arn = local.bucket_arn, prefix = var.bucket.prefix }
}

output "roles" {
  description = "node.id → the broker's role: what else it needs (a bucket key of somebody else's, for one) is given to it."
  value       = { for id in local.ids : id => { name = aws_iam_role.broker[id].name, arn = aws_iam_role.broker[id].arn } }
}

output "ca_secret" {
  description = "ARN of the secret with the CA, which clients trust; null without TLS."
  value       = try(aws_secretsmanager_secret.this["ca"].arn, null)
}

output "secrets" {
  description = "Name → ARN of all secrets: ca, broker-ID (JSON with certificate and key), join-token."
  value       = { for k, s in aws_secretsmanager_secret.this : k => s.arn }
}

output "security_groups" {
  description = "Of the brokers and of the load balancer."
  value       = { broker = aws_security_group.broker.id, bootstrap = aws_security_group.bootstrap.id }
}

output "zone" {
  description = "Id of the hosted zone with the names."
  value       = local.zone
}

output "load_balancer" {
  description = "The bootstrap load balancer's own name, to which bootstrap.DOMAIN points."
  value       = aws_lb.bootstrap.dns_name
}

output "provider" {
  description = "The arguments of provider \"qanat\" for this cluster."
  value = merge(
    { bootstrap_servers = join(",", [for id in local.ids : "${local.hosts[id]}:${local.kafka_port}"]) },
    var.tls == null ? {} : { tls = { ca = var.tls.ca } },
  )
}

output "user_data" {
  description = "What each instance is started with; it holds no secret."
  value       = local.user_data
}

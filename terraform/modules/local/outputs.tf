output "bootstrap" {
  description = "bootstrap.servers of clients."
  value       = join(",", values(local.kafka))
  depends_on  = [terraform_data.ready]
}

output "brokers" {
  description = "node.id → the broker's addresses and parts."
  value = { for id in local.ids : id => {
    kafka     = local.kafka[id]
    admin     = local.admin[id]
    az        = var.brokers[id].az
    directory = "${local.directory}/${id}"
  } }
  depends_on = [terraform_data.ready]
}

output "bucket" {
  description = "Where history is."
  value       = { url = local.configs[local.ids[0]]["bucket.url"] }
}

output "ca" {
  description = "Path of the CA that clients trust; null without TLS."
  value       = var.tls == null ? null : "${local.certificates}/ca.pem"
  depends_on  = [terraform_data.ready]
}

output "provider" {
  description = "The arguments of provider \"qanat\" for this cluster."
  value = merge(
    { bootstrap_servers = join(",", values(local.kafka)) },
    var.tls == null ? {} : { tls = merge(
      { ca = "${local.certificates}/ca.pem" },
      var.tls.client_auth == "none" ? {} : { cert = "${local.certificates}/client.pem", key = "${local.certificates}/client-key.pem" },
    ) },
  )
  depends_on = [terraform_data.ready]
}

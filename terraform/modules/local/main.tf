# A cluster of real processes on this machine, by nothing but terraform_data. What is done is in scripts/broker; here is when:
#
#   place ─▶ cluster ─▶ broker[id] ─▶ process[id] ─▶ ready ─▶ outputs
#             prepare    renew         up             ready
#             sweep      remove                          ▲
#                           └─────── end ────────────────┘
#                                   ending
#
# broker is made before the one that it replaces is destroyed, and Terraform runs no destroy provisioner of what is replaced that way: so renew
# means "replace", and remove means "take out of the cluster for good". end is destroyed before all of them when everything goes: then nobody is drained.

locals {
  directory = coalesce(var.directory, abspath("${path.root}/.qanat/${var.name}"))
  script    = "${path.module}/scripts/broker"
  qanat     = strcontains(var.qanat, "/") ? abspath(var.qanat) : var.qanat
  program   = try(filesha256(var.qanat), "")

  ids    = [for n in sort([for id in keys(var.brokers) : format("%02d", tonumber(id))]) : tostring(tonumber(n))]
  voters = var.voters != null ? var.voters : slice(local.ids, 0, length(local.ids) >= 3 ? 3 : 1)
  ports  = { for n in range(1, 33) : tostring(n) => var.base_port + 3 * (n - 1) }
  scheme = var.tls == null ? "http" : "https"

  certificates = var.tls == null ? null : coalesce(var.tls.directory, "${local.directory}/tls")
  factor       = min(3, length(var.brokers))

  kafka = { for id in local.ids : id => "127.0.0.1:${local.ports[id]}" }
  admin = { for id in local.ids : id => "${local.scheme}://127.0.0.1:${local.ports[id] + 1}" }

  configs = { for id in local.ids : id => merge(
    {
      "default.replication.factor" = tostring(local.factor)
      "min.insync.replicas"        = tostring(max(1, local.factor - 1))
    },
    var.config,
    {
      "node.id"            = id
      "data.dir"           = "${local.directory}/${id}/data"
      "listeners"          = "${var.tls == null ? "PLAINTEXT" : "SSL"}://${local.kafka[id]}"
      "admin.listener"     = "127.0.0.1:${local.ports[id] + 1}"
      "cluster.listener"   = "127.0.0.1:${local.ports[id] + 2}"
      "cluster.advertised" = "127.0.0.1:${local.ports[id] + 2}"
      "cluster.peers"      = join(",", [for v in local.voters : "${v}@127.0.0.1:${local.ports[v] + 2}"])
      "bucket.url"         = var.bucket == null ? "dir:${local.directory}/bucket" : var.bucket.url
    },
    var.brokers[id].az == null ? {} : { "broker.rack" = var.brokers[id].az },
    var.tls == null ? {} : {
      "admin.security.protocol"        = "SSL"
      "security.inter.broker.protocol" = "SSL"
      "ssl.keystore.certificate.chain" = "${local.certificates}/broker-${id}.pem"
      "ssl.keystore.key"               = "${local.certificates}/broker-${id}-key.pem"
      "ssl.truststore.location"        = "${local.certificates}/ca.pem"
      "ssl.client.auth"                = var.tls.client_auth
    },
  ) }

  # What scripts/broker is told; what is needed when a broker or the cluster goes, it finds in the directory.
  environment = {
    QM_DIRECTORY    = local.directory
    QM_PROGRAM      = local.qanat
    QM_CERTIFICATES = local.certificates == null ? "" : local.certificates
    QM_MAKE_CERTS   = var.tls != null && try(var.tls.directory, null) == null ? "yes" : ""
    QM_TIMEOUT      = tostring(var.rolling.timeout)
    QM_DRAIN        = tostring(var.rolling.drain)
    QM_OTLP         = var.otlp_endpoint == null ? "" : var.otlp_endpoint
  }
}

# Where the cluster was made, for good.
resource "terraform_data" "place" {
  input = { directory = local.directory, tls = var.tls != null }

  lifecycle {
    ignore_changes = [input]

    postcondition {
      condition     = self.output.directory == local.directory
      error_message = "directory: the cluster is in ${self.output.directory}. Write that; or destroy the cluster, and apply again."
    }
    postcondition {
      condition     = self.output.tls == (var.tls != null)
      error_message = "tls: the cluster was made ${self.output.tls ? "with" : "without"} TLS, which cannot be changed here. Write tls as it was (${self.output.tls ? "{}" : "null"}); or destroy the cluster, and apply again."
    }
  }
}

resource "terraform_data" "cluster" {
  input = { script = local.script, directory = local.directory }

  depends_on = [terraform_data.place]

  provisioner "local-exec" {
    command     = "bash ${self.input.script} prepare"
    environment = local.environment
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "bash ${self.input.script} sweep"
    environment = { QM_DIRECTORY = self.input.directory }
  }
}

resource "terraform_data" "broker" {
  for_each = var.brokers

  input = { script = local.script, directory = local.directory, id = each.key }

  depends_on = [terraform_data.cluster]

  lifecycle {
    create_before_destroy = true
  }

  provisioner "local-exec" {
    command     = "bash ${self.input.script} renew"
    environment = merge(local.environment, { QM_ID = each.key, QM_CONFIG = local.config_files[each.key], QM_KAFKA = local.kafka[each.key], QM_ADMIN = local.admin[each.key] })
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "bash ${self.input.script} remove"
    environment = { QM_DIRECTORY = self.input.directory, QM_ID = self.input.id }
  }
}

locals {
  config_files = { for id, c in local.configs : id => join("", [for k, v in c : "${k}: ${jsonencode(v)}\n"]) }
}

resource "terraform_data" "process" {
  for_each = var.brokers

  triggers_replace = [terraform_data.broker[each.key].id, sha256(local.config_files[each.key]), local.qanat, local.program, var.otlp_endpoint]

  provisioner "local-exec" {
    command     = "bash ${local.script} up"
    environment = merge(local.environment, { QM_ID = each.key, QM_CONFIG = local.config_files[each.key], QM_KAFKA = local.kafka[each.key], QM_ADMIN = local.admin[each.key] })
  }
}

resource "terraform_data" "ready" {
  triggers_replace = [for id in local.ids : terraform_data.process[id].id]

  provisioner "local-exec" {
    command     = "bash ${local.script} ready"
    environment = merge(local.environment, { QM_IDS = join(" ", local.ids) })
  }
}

resource "terraform_data" "end" {
  input = { script = local.script, directory = local.directory }

  depends_on = [terraform_data.broker, terraform_data.ready]

  provisioner "local-exec" {
    when        = destroy
    command     = "bash ${self.input.script} ending"
    environment = { QM_DIRECTORY = self.input.directory }
  }
}

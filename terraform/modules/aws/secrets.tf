# Certificates, keys and the token. Brokers fetch them at every start and once an hour: a renewed certificate needs no restart, and neither state, plan nor
# user data holds a key. They can be issued again, so a destroyed one is not kept, which would take its name.
locals {
  secrets = merge(
    var.tls == null ? {} : { ca = "Whom the brokers of ${var.name}, and their clients, trust" },
    var.tls == null ? {} : { for id in local.ids : "broker-${id}" => "Certificate and key of broker ${id} of ${var.name}" },
    var.join_token_version == null ? {} : { join-token = "cluster.join.token of ${var.name}" },
  )
}

resource "aws_secretsmanager_secret" "this" {
  for_each = local.secrets

  name                    = "${var.name}/${each.key}"
  description             = each.value
  kms_key_id              = var.kms_key
  recovery_window_in_days = 0
  tags                    = local.tags
}

# Not a secret, and kept with them so that it can be replaced as they are.
resource "aws_secretsmanager_secret_version" "ca" {
  count = var.tls == null ? 0 : 1

  secret_id     = aws_secretsmanager_secret.this["ca"].id
  secret_string = var.tls.ca
}

resource "aws_secretsmanager_secret_version" "broker" {
  for_each = try(var.tls.version, 0) > 0 ? toset(local.ids) : toset([])

  secret_id                = aws_secretsmanager_secret.this["broker-${each.key}"].id
  secret_string_wo         = jsonencode(var.certificates[each.key])
  secret_string_wo_version = var.tls.version
}

resource "aws_secretsmanager_secret_version" "join_token" {
  count = coalesce(var.join_token_version, 0) > 0 ? 1 : 0

  secret_id                = aws_secretsmanager_secret.this["join-token"].id
  secret_string_wo         = var.join_token
  secret_string_wo_version = var.join_token_version
}

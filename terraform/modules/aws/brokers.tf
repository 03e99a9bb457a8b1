data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.here.dns_suffix}"]
    }
  }
}

resource "aws_iam_role" "broker" {
  name               = "${var.name}-broker"
  description        = "What brokers of ${var.name} may do: the bucket below its prefix, and their secrets"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

data "aws_iam_policy_document" "broker" {
  statement {
    sid       = "Objects"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = [local.objects]
  }

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]
    dynamic "condition" {
      for_each = var.bucket.prefix == "" ? [] : [var.bucket.prefix]
      content {
        test     = "StringLike"
        variable = "s3:prefix"
        values   = ["${condition.value}/*"]
      }
    }
  }

  dynamic "statement" {
    for_each = length(local.secrets) > 0 ? ["secrets"] : []
    content {
      sid       = "Secrets"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = [for s in aws_secretsmanager_secret.this : s.arn]
    }
  }

  dynamic "statement" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role_policy" "broker" {
  name   = "broker"
  role   = aws_iam_role.broker.id
  policy = data.aws_iam_policy_document.broker.json
}

resource "aws_iam_instance_profile" "broker" {
  name = "${var.name}-broker"
  role = aws_iam_role.broker.name
  tags = local.tags
}

locals {
  user_data = { for id in local.ids : id => templatefile("${path.module}/templates/user-data.sh.tftpl", {
    id       = id
    config   = yamlencode(local.config[id])
    artifact = var.artifact
    volume   = replace(aws_ebs_volume.data[id].id, "-", "")
    # A line for each variable: what OpenTelemetry reads, and the token's file adds to.
    environment = join("\n", compact([
      var.otlp_endpoint == null ? "" : "OTEL_EXPORTER_OTLP_ENDPOINT=${var.otlp_endpoint}",
      "OTEL_RESOURCE_ATTRIBUTES=service.namespace=${var.name},cloud.provider=aws,cloud.region=${local.region},cloud.availability_zone=${var.brokers[id].az}",
    ]))
    secrets = length(local.secrets) == 0 ? "" : jsonencode({
      region   = local.region
      endpoint = "https://secretsmanager.${local.region}.${data.aws_partition.here.dns_suffix}"
      files    = { for k in keys(local.secrets) : k => aws_secretsmanager_secret.this[k].arn if contains(["ca", "join-token", "broker-${id}"], k) }
    })
    volume_script  = file("${path.module}/templates/volume.sh")
    secrets_script = file("${path.module}/templates/secrets.py")
  }) }
}

# What an instance is made from. A change replaces it, also where AWS could change it in place: three brokers that stop in the same minute are no cluster.
resource "terraform_data" "made_from" {
  for_each = var.brokers

  triggers_replace = {
    ami           = var.ami
    instance_type = each.value.instance_type
    user_data     = sha256(local.user_data[each.key])
  }
}

resource "aws_instance" "broker" {
  for_each = var.brokers

  ami                         = var.ami
  instance_type               = each.value.instance_type
  iam_instance_profile        = aws_iam_instance_profile.broker.name
  user_data                   = local.user_data[each.key]
  user_data_replace_on_change = true
  ebs_optimized               = true
  tags                        = merge(local.tags, { Name = "${var.name}-broker-${each.key}", "qanat:node" = each.key })

  network_interface {
    network_interface_id = aws_network_interface.broker[each.key].id
    device_index         = 0
  }

  # IMDSv2, and for this machine only.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # System, program and journal; data are elsewhere.
  root_block_device {
    volume_type = "gp3"
    volume_size = 20
    encrypted   = true
    kms_key_id  = var.kms_key
    tags        = merge(local.tags, { Name = "${var.name}-broker-${each.key}-root" })
  }

  lifecycle {
    replace_triggered_by = [terraform_data.made_from[each.key]]

    precondition {
      condition     = length(local.user_data[each.key]) < 16384
      error_message = "The user data of broker ${each.key} has ${length(local.user_data[each.key])} bytes, and EC2 takes 16384. Make config shorter."
    }
  }

  # A broker is not started before it may do what it does at once.
  depends_on = [
    aws_iam_role_policy.broker, aws_secretsmanager_secret_version.ca, aws_secretsmanager_secret_version.broker, aws_secretsmanager_secret_version.join_token,
    aws_vpc_security_group_ingress_rule.between, aws_vpc_security_group_egress_rule.between, aws_vpc_security_group_egress_rule.outside,
    aws_route53_record.broker, aws_vpc_endpoint.s3,
  ]
}

# A broker's turn. It depends on all that is replaced with an instance, so that it goes before and comes after: going, it is refused when another broker would go
# in the same apply, and waits until the cluster is healthy; coming, until this broker is back and the cluster healthy again. docs/decisions/0012 says why so.
resource "terraform_data" "turn" {
  for_each = var.brokers

  triggers_replace = [aws_instance.broker[each.key].id]

  input = {
    TURN_CLUSTER = var.name
    TURN_BROKER  = each.key
    TURN_SELF    = "${local.scheme}://${local.hosts[each.key]}:${local.admin_port}"
    TURN_OTHERS  = join(" ", [for id in local.ids : "${local.scheme}://${local.hosts[id]}:${local.admin_port}" if id != each.key])
    TURN_CA      = try(var.tls.ca, "")
    TURN_COMMAND = var.rolling.command
    TURN_DRAIN   = tostring(var.rolling.drain)
    TURN_TIMEOUT = tostring(var.rolling.timeout)
  }

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["/bin/sh"]
    command     = "${path.module}/hooks/turn"
    environment = merge(self.input, { TURN_DO = "leave" })
  }

  provisioner "local-exec" {
    interpreter = ["/bin/sh"]
    command     = "${path.module}/hooks/turn"
    environment = merge(self.input, { TURN_DO = "enter" })
  }

  depends_on = [aws_volume_attachment.data, aws_lb_target_group_attachment.bootstrap, aws_lb_listener.bootstrap]
}

# Everything depends on brokers' turns but this, which goes first when all of it goes: then nobody waits for anybody.
resource "terraform_data" "whole" {
  input = { TURN_CLUSTER = var.name }

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["/bin/sh"]
    command     = "${path.module}/hooks/turn"
    environment = merge(self.input, { TURN_DO = "end" })
  }

  depends_on = [terraform_data.turn]
}

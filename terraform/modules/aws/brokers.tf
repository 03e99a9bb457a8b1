data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.here.dns_suffix}"]
    }
  }
}

# Each broker has a role of its own, which reads its own secrets and attaches its own volume to its own instance.
resource "aws_iam_role" "broker" {
  for_each = var.brokers

  name               = "${var.name}-broker-${each.key}"
  description        = "What broker ${each.key} of ${var.name} may do: the bucket below its prefix, its secrets, its volume"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

locals {
  ec2 = "arn:${data.aws_partition.here.partition}:ec2:${local.region}:${data.aws_caller_identity.here.account_id}"
  # Of a broker: the CA, its certificate, the token.
  secrets_of = { for id in local.ids : id => [for k in keys(local.secrets) : k if contains(["ca", "join-token", "broker-${id}"], k)] }
}

data "aws_iam_policy_document" "broker" {
  for_each = var.brokers

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

  # An attachment is asked for both of them: this volume, and no instance but this broker's.
  statement {
    sid       = "Volume"
    actions   = ["ec2:AttachVolume"]
    resources = [aws_ebs_volume.data[each.key].arn]
  }

  statement {
    sid       = "Instance"
    actions   = ["ec2:AttachVolume"]
    resources = ["${local.ec2}:instance/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/qanat:cluster"
      values   = [var.name]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/qanat:node"
      values   = [each.key]
    }
  }

  dynamic "statement" {
    for_each = length(local.secrets) > 0 ? ["secrets"] : []
    content {
      sid       = "Secrets"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = [for k in local.secrets_of[each.key] : aws_secretsmanager_secret.this[k].arn]
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

  # EC2 is given the key of a volume that is attached, and nobody else.
  dynamic "statement" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      sid       = "VolumeKey"
      actions   = ["kms:CreateGrant", "kms:DescribeKey"]
      resources = [statement.value]
      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["ec2.${local.region}.${data.aws_partition.here.dns_suffix}"]
      }
    }
  }
}

resource "aws_iam_role_policy" "broker" {
  for_each = var.brokers

  name   = "broker"
  role   = aws_iam_role.broker[each.key].id
  policy = data.aws_iam_policy_document.broker[each.key].json
}

resource "aws_iam_instance_profile" "broker" {
  for_each = var.brokers

  name = "${var.name}-broker-${each.key}"
  role = aws_iam_role.broker[each.key].name
  tags = local.tags
}

locals {
  user_data = { for id in local.ids : id => templatefile("${path.module}/templates/user-data.sh.tftpl", {
    id            = id
    instance_type = var.brokers[id].instance_type
    config        = yamlencode(local.config[id])
    artifact      = var.artifact
    volume        = aws_ebs_volume.data[id].id
    # A line for each variable: what OpenTelemetry reads, and the token's file adds to.
    environment = join("\n", compact([
      var.otlp_endpoint == null ? "" : "OTEL_EXPORTER_OTLP_ENDPOINT=${var.otlp_endpoint}",
      "OTEL_RESOURCE_ATTRIBUTES=service.namespace=${var.name},cloud.provider=aws,cloud.region=${local.region},cloud.availability_zone=${var.brokers[id].az}",
    ]))
    secrets = length(local.secrets) > 0
    aws = jsonencode({
      region  = local.region
      domain  = data.aws_partition.here.dns_suffix
      volume  = aws_ebs_volume.data[id].id
      secrets = { for k in local.secrets_of[id] : k => aws_secretsmanager_secret.this[k].arn }
    })
    volume_script = file("${path.module}/templates/volume.sh")
    aws_script    = file("${path.module}/templates/aws.py")
  }) }

  # What the hooks of an apply are told (hooks/roll).
  roll = {
    ROLL_CLUSTER = var.name
    ROLL_ADMINS  = join(" ", [for id in local.ids : "${id}=${local.scheme}://${local.hosts[id]}:${local.admin_port}"])
    ROLL_CA      = try(var.tls.ca, "")
    ROLL_COMMAND = var.rolling.command
    ROLL_DRAIN   = tostring(var.rolling.drain)
    ROLL_TIMEOUT = tostring(var.rolling.timeout)
  }
}

# Lets brokers go, one after the other. It is made again when any of them is replaced, from what they are made from, and depends on all that they depend on: so it
# can only be made where nothing that a new instance needs waits for an old one to go. Nothing depends on it. docs/decisions/0012 says why so.
resource "terraform_data" "roll" {
  triggers_replace = { for id in local.ids : id => {
    ami       = var.ami
    interface = aws_network_interface.broker[id].id
    profile   = aws_iam_instance_profile.broker[id].name
    user_data = sha256(local.user_data[id])
  } }

  provisioner "local-exec" {
    interpreter = ["/bin/sh"]
    command     = "${path.module}/hooks/roll"
    environment = merge(local.roll, { ROLL_DO = "conduct" })
  }

  depends_on = [aws_route53_record.broker, aws_vpc_endpoint.s3]
}

# A change replaces an instance, also another type, which its user data name: AWS could change that in place, of all brokers in the same minute.
#
# What an instance depends on is the same as what roll depends on, and nothing that is replaced with an instance depends on it: Terraform makes a part of one
# broker only when the parts that it depends on of all brokers are made.
resource "aws_instance" "broker" {
  for_each = var.brokers

  ami                         = var.ami
  instance_type               = each.value.instance_type
  iam_instance_profile        = aws_iam_instance_profile.broker[each.key].name
  user_data                   = local.user_data[each.key]
  user_data_replace_on_change = true
  ebs_optimized               = true
  # hooks/roll and the role's policy know the instance by its tags.
  tags = merge(local.tags, { Name = "${var.name}-broker-${each.key}", "qanat:node" = each.key })

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
    precondition {
      condition     = length(local.user_data[each.key]) < 16384
      error_message = "The user data of broker ${each.key} has ${length(local.user_data[each.key])} bytes, and EC2 takes 16384. Make config shorter."
    }
  }

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["/bin/sh"]
    command     = "${path.module}/hooks/roll"
    environment = { ROLL_DO = "leave", ROLL_CLUSTER = self.tags["qanat:cluster"], ROLL_BROKER = self.tags["qanat:node"] }
  }

  # Only what cannot fail: an instance whose provisioner has failed would be replaced without its turn.
  provisioner "local-exec" {
    interpreter = ["/bin/sh"]
    command     = "${path.module}/hooks/roll"
    environment = { ROLL_DO = "back", ROLL_CLUSTER = var.name, ROLL_BROKER = each.key }
    on_failure  = continue
  }

  # Names are known before anybody asks for them. Rights and rules come in the same seconds: what a machine does at its first boot, it tries again.
  depends_on = [aws_route53_record.broker, aws_vpc_endpoint.s3]
}

# An apply that has made instances ends when all brokers are active and the cluster is healthy.
resource "terraform_data" "ready" {
  triggers_replace = { for id in local.ids : id => aws_instance.broker[id].id }

  provisioner "local-exec" {
    interpreter = ["/bin/sh"]
    command     = "${path.module}/hooks/roll"
    environment = merge(local.roll, { ROLL_DO = "ready" })
  }

  depends_on = [
    terraform_data.roll, aws_iam_role_policy.broker, aws_secretsmanager_secret_version.ca, aws_secretsmanager_secret_version.broker,
    aws_secretsmanager_secret_version.join_token, aws_lb_target_group_attachment.bootstrap, aws_lb_listener.bootstrap,
    aws_vpc_security_group_ingress_rule.between, aws_vpc_security_group_egress_rule.between, aws_vpc_security_group_egress_rule.outside,
  ]
}

# Goes first when all of it goes: then nobody waits for anybody.
resource "terraform_data" "whole" {
  input = { cluster = var.name }

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["/bin/sh"]
    command     = "${path.module}/hooks/roll"
    environment = { ROLL_DO = "end", ROLL_CLUSTER = self.input.cluster }
  }

  depends_on = [aws_instance.broker]
}

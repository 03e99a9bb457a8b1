# The hot end of every log. It belongs to the node id, not to an instance: an instance attaches it when it boots, and it is free when that has gone.
resource "aws_ebs_volume" "data" {
  for_each = var.brokers

  availability_zone = each.value.az
  type              = "gp3"
  size              = coalesce(each.value.volume_gib, var.volume.gib)
  iops              = var.volume.iops
  throughput        = var.volume.throughput
  encrypted         = true
  kms_key_id        = var.kms_key
  final_snapshot    = var.volume.final_snapshot
  tags              = merge(local.tags, { Name = "${var.name}-broker-${each.key}", "qanat:node" = each.key })
}

locals {
  bucket     = var.bucket.create ? one(aws_s3_bucket.history[*].bucket) : var.bucket.name
  bucket_arn = "arn:${data.aws_partition.here.partition}:s3:::${local.bucket}"
  objects    = "${local.bucket_arn}/${var.bucket.prefix == "" ? "" : "${var.bucket.prefix}/"}*"
}

# History: closed segments, one object each. Nothing in it expires but by the brokers: retention is theirs.
resource "aws_s3_bucket" "history" {
  count = var.bucket.create ? 1 : 0

  bucket        = var.bucket.name
  bucket_prefix = var.bucket.name == null ? "${var.name}-history-" : null
  force_destroy = var.bucket.force_destroy
  tags          = local.tags
}

resource "aws_s3_bucket_ownership_controls" "history" {
  count = var.bucket.create ? 1 : 0

  bucket = aws_s3_bucket.history[0].id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "history" {
  count = var.bucket.create ? 1 : 0

  bucket                  = aws_s3_bucket.history[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "history" {
  count = var.bucket.create ? 1 : 0

  bucket = aws_s3_bucket.history[0].id
  rule {
    bucket_key_enabled = var.kms_key != null
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key
    }
  }
}

# Uploads that were broken off, and nothing else.
resource "aws_s3_bucket_lifecycle_configuration" "history" {
  count = var.bucket.create ? 1 : 0

  bucket = aws_s3_bucket.history[0].id
  rule {
    id     = "abort-multipart-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

data "aws_iam_policy_document" "bucket" {
  count = var.bucket.create ? 1 : 0

  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.bucket_arn, "${local.bucket_arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "history" {
  count = var.bucket.create ? 1 : 0

  bucket = aws_s3_bucket.history[0].id
  policy = data.aws_iam_policy_document.bucket[0].json

  depends_on = [aws_s3_bucket_public_access_block.history]
}

# A broker's address and name outlive its instance: clients, other brokers and the load balancer never see that it was replaced.
resource "aws_network_interface" "broker" {
  for_each = var.brokers

  subnet_id       = var.subnets[each.value.az]
  security_groups = [aws_security_group.broker.id]
  description     = "${var.name} broker ${each.key}"
  tags            = merge(local.tags, { Name = "${var.name}-broker-${each.key}" })
}

resource "aws_route53_zone" "private" {
  count = var.dns.zone == null ? 1 : 0

  name          = var.dns.domain
  comment       = "${var.name}: brokers"
  force_destroy = false
  tags          = local.tags

  vpc {
    vpc_id = var.vpc
  }

  # Further VPCs, whose clients are to find the brokers, are associated elsewhere.
  lifecycle {
    ignore_changes = [vpc]
  }
}

locals {
  zone = var.dns.zone != null ? var.dns.zone : one(aws_route53_zone.private[*].zone_id)
}

resource "aws_route53_record" "broker" {
  for_each = var.brokers

  zone_id = local.zone
  name    = local.hosts[each.key]
  type    = "A"
  ttl     = 60
  records = [aws_network_interface.broker[each.key].private_ip]
}

resource "aws_route53_record" "bootstrap" {
  zone_id = local.zone
  name    = "bootstrap.${var.dns.domain}"
  type    = "A"

  alias {
    name                   = aws_lb.bootstrap.dns_name
    zone_id                = aws_lb.bootstrap.zone_id
    evaluate_target_health = true
  }
}

resource "aws_vpc_endpoint" "s3" {
  count = length(var.route_tables) > 0 ? 1 : 0

  vpc_id            = var.vpc
  service_name      = "com.amazonaws.${local.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = var.route_tables
  tags              = merge(local.tags, { Name = "${var.name}-s3" })
}

# Clients ask the load balancer only who the brokers are; records go to the brokers themselves, by their names.
resource "aws_lb" "bootstrap" {
  name                             = "${var.name}-kafka"
  load_balancer_type               = "network"
  internal                         = !var.public
  subnets                          = values(var.subnets)
  security_groups                  = [aws_security_group.bootstrap.id]
  enable_cross_zone_load_balancing = true
  tags                             = local.tags
}

resource "aws_lb_target_group" "bootstrap" {
  name                   = "${var.name}-kafka"
  vpc_id                 = var.vpc
  target_type            = "ip"
  protocol               = "TCP"
  port                   = local.kafka_port
  deregistration_delay   = 30
  connection_termination = true
  # A connection from a broker's own address to itself would not come back.
  preserve_client_ip = false
  tags               = local.tags

  health_check {
    protocol            = upper(local.scheme)
    port                = tostring(local.admin_port)
    path                = "/readyz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "bootstrap" {
  load_balancer_arn = aws_lb.bootstrap.arn
  protocol          = "TCP"
  port              = local.kafka_port
  tags              = local.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.bootstrap.arn
  }
}

resource "aws_lb_target_group_attachment" "bootstrap" {
  for_each = var.brokers

  target_group_arn = aws_lb_target_group.bootstrap.arn
  target_id        = aws_network_interface.broker[each.key].private_ip
  port             = local.kafka_port
}

resource "aws_security_group" "broker" {
  name        = "${var.name}-broker"
  description = "Brokers of ${var.name}"
  vpc_id      = var.vpc
  tags        = merge(local.tags, { Name = "${var.name}-broker" })
}

resource "aws_security_group" "bootstrap" {
  name        = "${var.name}-bootstrap"
  description = "Bootstrap load balancer of ${var.name}"
  vpc_id      = var.vpc
  tags        = merge(local.tags, { Name = "${var.name}-bootstrap" })
}

locals {
  # https's port unless the address says another; the artifact and the collector may be anywhere.
  outside = toset(compact(concat(
    ["443"],
    [for url in compact([var.artifact.url, var.otlp_endpoint]) : try(regex("^https?://[^/:]+:([0-9]+)", url)[0], startswith(url, "http://") ? "80" : "")],
  )))

  # Every rule has a name that says what it is; a list would move rules when one is taken out.
  ingress = merge(
    { for c in var.access.client_cidrs : "kafka-${c}" => { to = "broker", port = local.kafka_port, cidr = c, group = null } },
    { for n, g in var.access.client_security_groups : "kafka-${n}" => { to = "broker", port = local.kafka_port, cidr = null, group = g } },
    { for c in var.access.admin_cidrs : "admin-${c}" => { to = "broker", port = local.admin_port, cidr = c, group = null } },
    { for n, g in var.access.admin_security_groups : "admin-${n}" => { to = "broker", port = local.admin_port, cidr = null, group = g } },
    { for c in var.access.client_cidrs : "bootstrap-${c}" => { to = "bootstrap", port = local.kafka_port, cidr = c, group = null } },
    { for n, g in var.access.client_security_groups : "bootstrap-${n}" => { to = "bootstrap", port = local.kafka_port, cidr = null, group = g } },
  )
  between = {
    cluster         = { from = "broker", to = "broker", port = local.cluster_port }
    bootstrap       = { from = "bootstrap", to = "broker", port = local.kafka_port }
    bootstrap-check = { from = "bootstrap", to = "broker", port = local.admin_port }
    broker-admin    = { from = "broker", to = "broker", port = local.admin_port }
  }
  groups = { broker = aws_security_group.broker.id, bootstrap = aws_security_group.bootstrap.id }
}

resource "aws_vpc_security_group_ingress_rule" "from" {
  for_each = local.ingress

  security_group_id            = local.groups[each.value.to]
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  cidr_ipv4                    = each.value.cidr
  referenced_security_group_id = each.value.group
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "between" {
  for_each = local.between

  security_group_id            = local.groups[each.value.to]
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = local.groups[each.value.from]
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "between" {
  for_each = local.between

  security_group_id            = local.groups[each.value.from]
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = local.groups[each.value.to]
  tags                         = local.tags
}

# The bucket, Secrets Manager, the artifact and the collector.
resource "aws_vpc_security_group_egress_rule" "outside" {
  for_each = local.outside

  security_group_id = aws_security_group.broker.id
  description       = "outside-${each.key}"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.key)
  to_port           = tonumber(each.key)
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}

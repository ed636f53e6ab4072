locals {
  network = yamldecode(file(coalesce(var.network_file, "${path.module}/../inventory/group_vars/all/network.yml")))
  hosts   = local.network.network_hosts
  tags    = { Project = var.name }
  names   = { for role in keys(local.hosts) : role => "${var.name}-${replace(role, "_", "-")}" }

  # One rule per flow, keyed by what it says.
  flows = { for flow in local.network.network_flows : "${flow.from}-${flow.to}-${flow.port}" => flow... }

  # Arns of this account and region, as far as they do not name a thing yet.
  arn = { for service in ["ecs", "ecr", "logs"] : service =>
  "arn:${data.aws_partition.current.partition}:${service}:${var.region}:${data.aws_caller_identity.current.account_id}" }

  # What is wrong with the file, by name; see the preconditions of the VPC. AWS keeps the first four addresses of a
  # subnet and the last.
  vpc    = local.network.network_vpc_cidr
  subnet = local.network.network_subnet_cidr
  kept   = concat([for index in range(4) : cidrhost(local.subnet, index)], [cidrhost(local.subnet, -1)])
  strays = distinct(concat(
    cidrhost("${cidrhost(local.subnet, 0)}/${split("/", local.vpc)[1]}", 0) == cidrhost(local.vpc, 0) ? [] : ["the subnet"],
    [for role, host in local.hosts : role if contains(local.kept, host.private_ip) ||
    cidrhost("${host.private_ip}/${split("/", local.subnet)[1]}", 0) != cidrhost(local.subnet, 0)],
    [for role, host in local.hosts : role if length([for other in local.hosts : 1 if other.private_ip == host.private_ip]) > 1],
  ))
  wrong_flows = [for key, same in local.flows : key if length(same) > 1 || try(length(same[0].why), 0) == 0 ||
    !contains(keys(local.hosts), same[0].to) || !contains(concat(keys(local.hosts), ["operator", "lambda"]), same[0].from) ||
  try(same[0].port != floor(same[0].port) || same[0].port < 1 || same[0].port > 65535, true) || (same[0].from == "operator" && same[0].port != 22)]
  wrong_hosts = [for role, host in local.hosts : role if !can(regex("^[a-z][a-z0-9-]+\\.[a-z0-9-]+$", host.instance_type)) ||
  try(host.volume_gb < 8 || host.volume_gb > 16384, true)]

  # Rules only of what is right, so that a wrong entry is told by its name and not by an error somewhere below.
  rules = { for key, same in local.flows : key => same[0] if !contains(local.wrong_flows, key) }
}

data "aws_ami" "debian" {
  most_recent = true
  owners      = ["136693071363"] # Debian

  filter {
    name   = "name"
    values = ["debian-12-amd64-*"]
  }
}

data "aws_availability_zones" "available" {
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"] # no local zones, which lack most instance types
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

# --- network ---------------------------------------------------------------------------------------

resource "aws_vpc" "main" {
  cidr_block           = local.network.network_vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }

  # The file with the network is written by people: what is wrong in it is said before anything is made.
  lifecycle {
    precondition {
      condition     = length(local.strays) == 0
      error_message = "The subnet must lie inside the VPC and every host inside the subnet, each at an address of its own that AWS does not keep: ${join(", ", local.strays)}."
    }
    precondition {
      condition     = length(local.wrong_flows) == 0
      error_message = "A flow goes from a host, the operator or the lambda to a host, on a port from 1 to 65535, is listed once and says why; the operator's is ssh: ${join(", ", local.wrong_flows)}."
    }
    precondition {
      condition     = length(local.wrong_hosts) == 0
      error_message = "A host has an instance type such as t3.medium and 8 to 16384 GB: ${join(", ", local.wrong_hosts)}."
    }
  }
}

# Nothing uses the group that comes with a VPC: it lets nothing in or out.
resource "aws_default_security_group" "closed" {
  vpc_id  = aws_vpc.main.id
  ingress = []
  egress  = []
  tags    = { Name = "${var.name}-default" }
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
  tags   = { Name = var.name }
}

resource "aws_subnet" "main" {
  vpc_id            = aws_vpc.main.id
  cidr_block        = local.network.network_subnet_cidr
  availability_zone = data.aws_availability_zones.available.names[0]
  tags              = { Name = var.name }
}

resource "aws_route_table" "main" {
  vpc_id = aws_vpc.main.id
  tags   = { Name = var.name }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.main.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.main.id
}

resource "aws_route_table_association" "main" {
  subnet_id      = aws_subnet.main.id
  route_table_id = aws_route_table.main.id
}

# --- security groups: one a host and one for the generator, rules from the flow list ----------------

resource "aws_security_group" "main" {
  for_each    = toset(concat(keys(local.hosts), ["lambda"]))
  name        = "${var.name}-${each.key}"
  description = "RetailFlow ${each.key}"
  vpc_id      = aws_vpc.main.id
  tags        = { Name = "${var.name}-${each.key}", Role = each.key }
}

resource "aws_vpc_security_group_ingress_rule" "flow" {
  for_each                     = local.rules
  security_group_id            = aws_security_group.main[each.value.to].id
  cidr_ipv4                    = each.value.from == "operator" ? var.operator_cidr : null
  referenced_security_group_id = each.value.from == "operator" ? null : aws_security_group.main[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = { Name = each.key, Why = each.value.why }
}

# Hosts fetch packages and images and reach Snowflake; the generator reaches PostgreSQL and nothing else.
resource "aws_vpc_security_group_egress_rule" "host" {
  for_each          = local.hosts
  security_group_id = aws_security_group.main[each.key].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
  tags              = { Name = "${each.key}-out" }
}

resource "aws_vpc_security_group_egress_rule" "lambda" {
  for_each                     = { for key, flow in local.rules : key => flow if flow.from == "lambda" }
  security_group_id            = aws_security_group.main["lambda"].id
  referenced_security_group_id = aws_security_group.main[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = { Name = "${each.key}-out" }
}

# --- hosts -------------------------------------------------------------------------------------------

resource "aws_key_pair" "operator" {
  key_name   = var.name
  public_key = var.public_key
  tags       = { Name = var.name }
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# What the ECS agent and the engine of a host need, of this site and this role alone: AWS's own policy for container
# instances would also let a host make clusters, enter any of them, read every image and write every log.
data "aws_iam_policy_document" "host" {
  for_each = local.hosts

  statement {
    sid       = "FindTheCluster"
    actions   = ["ecs:DiscoverPollEndpoint"]
    resources = ["*"] # names no resource
  }
  statement {
    sid       = "JoinTheCluster"
    actions   = ["ecs:RegisterContainerInstance", "ecs:DeregisterContainerInstance", "ecs:SubmitContainerStateChange", "ecs:SubmitTaskStateChange", "ecs:SubmitAttachmentStateChanges"]
    resources = ["${local.arn.ecs}:cluster/${var.name}"]
  }
  statement {
    sid       = "ListenToTheCluster"
    actions   = ["ecs:Poll", "ecs:StartTelemetrySession", "ecs:PutSystemLogEvents", "ecs:UpdateContainerInstancesState"]
    resources = ["${local.arn.ecs}:container-instance/${var.name}/*"]
  }
  statement {
    sid       = "WriteItsLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${local.arn.logs}:log-group:/${var.name}/${each.key}/*"]
  }

  # Only hosts that run an image of our own read repositories, each the one of its role.
  dynamic "statement" {
    for_each = try(each.value.own_image, null) == null ? [] : ["*"]
    content {
      sid       = "LogInToTheRegistry"
      actions   = ["ecr:GetAuthorizationToken"]
      resources = [statement.value] # names no resource
    }
  }
  dynamic "statement" {
    for_each = try(each.value.own_image, null) == null ? [] : [each.value.own_image]
    content {
      sid       = "PullItsImage"
      actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      resources = ["${local.arn.ecr}:repository/${var.name}/${statement.value}"]
    }
  }
}

resource "aws_iam_role" "host" {
  for_each           = local.hosts
  name               = local.names[each.key]
  description        = "What the ${each.key} host of ${var.name} may do."
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = { Name = local.names[each.key], Role = each.key }
}

resource "aws_iam_role_policy" "host" {
  for_each = local.hosts
  name     = "host"
  role     = aws_iam_role.host[each.key].name
  policy   = data.aws_iam_policy_document.host[each.key].json
}

resource "aws_iam_instance_profile" "host" {
  for_each = local.hosts
  name     = local.names[each.key]
  role     = aws_iam_role.host[each.key].name
  tags     = { Name = local.names[each.key], Role = each.key }
}

resource "aws_network_interface" "host" {
  for_each        = local.hosts
  subnet_id       = aws_subnet.main.id
  private_ips     = [each.value.private_ip]
  security_groups = [aws_security_group.main[each.key].id]
  tags            = { Name = local.names[each.key] }
}

resource "aws_eip" "host" {
  for_each          = local.hosts
  domain            = "vpc"
  network_interface = aws_network_interface.host[each.key].id
  tags              = { Name = local.names[each.key] }
  depends_on        = [aws_internet_gateway.main]
}

resource "aws_instance" "host" {
  for_each             = local.hosts
  ami                  = data.aws_ami.debian.id
  instance_type        = each.value.instance_type
  key_name             = aws_key_pair.operator.key_name
  iam_instance_profile = aws_iam_instance_profile.host[each.key].name
  tags                 = { Name = local.names[each.key], Role = each.key }

  network_interface {
    network_interface_id = aws_network_interface.host[each.key].id
    device_index         = 0
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1 # a container on a bridge network does not get at the host's role
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = each.value.volume_gb
    encrypted   = true
    tags        = merge(local.tags, { Name = local.names[each.key] })
  }

  lifecycle {
    ignore_changes = [ami] # a newer Debian image must not replace a host that holds data
  }
}

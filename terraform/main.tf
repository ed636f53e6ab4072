locals {
  network = yamldecode(file(coalesce(var.network_file, "${path.module}/../inventory/group_vars/all/network.yml")))
  hosts   = local.network.network_hosts
  tags    = { Project = var.name }

  # One rule per flow, keyed by what it says.
  flows = { for flow in local.network.network_flows : "${flow.from}-${flow.to}-${flow.port}" => flow }
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
}

# --- network ---------------------------------------------------------------------------------------

resource "aws_vpc" "main" {
  cidr_block           = local.network.network_vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
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
  for_each                     = local.flows
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
  for_each                     = { for key, flow in local.flows : key => flow if flow.from == "lambda" }
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

resource "aws_iam_role" "host" {
  name               = "${var.name}-host"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

# The ECS agent joins the cluster and pulls images with these.
resource "aws_iam_role_policy_attachment" "host" {
  role       = aws_iam_role.host.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_instance_profile" "host" {
  name = "${var.name}-host"
  role = aws_iam_role.host.name
}

resource "aws_network_interface" "host" {
  for_each        = local.hosts
  subnet_id       = aws_subnet.main.id
  private_ips     = [each.value.private_ip]
  security_groups = [aws_security_group.main[each.key].id]
  tags            = { Name = "${var.name}-${replace(each.key, "_", "-")}" }
}

resource "aws_eip" "host" {
  for_each          = local.hosts
  domain            = "vpc"
  network_interface = aws_network_interface.host[each.key].id
  tags              = { Name = "${var.name}-${replace(each.key, "_", "-")}" }
  depends_on        = [aws_internet_gateway.main]
}

resource "aws_instance" "host" {
  for_each             = local.hosts
  ami                  = data.aws_ami.debian.id
  instance_type        = each.value.instance_type
  key_name             = aws_key_pair.operator.key_name
  iam_instance_profile = aws_iam_instance_profile.host.name
  tags                 = { Name = "${var.name}-${replace(each.key, "_", "-")}", Role = each.key }

  network_interface {
    network_interface_id = aws_network_interface.host[each.key].id
    device_index         = 0
  }

  metadata_options {
    http_tokens = "required"
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = each.value.volume_gb
    encrypted   = true
    tags        = merge(local.tags, { Name = "${var.name}-${replace(each.key, "_", "-")}" })
  }

  lifecycle {
    ignore_changes = [ami] # a newer Debian image must not replace a host that holds data
  }
}

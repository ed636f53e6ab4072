# The network of the site: one VPC with one public subnet.

locals {
  # People write the network in one file, which Ansible and the tests read too.
  network = yamldecode(file(coalesce(var.network_file, "${path.module}/../inventory/group_vars/all/network.yml")))
  hosts   = module.network.hosts
  tags    = { Project = var.name }
}

# Refuses what is wrong in that file before anything is made.
module "network" {
  source = "./modules/network"

  vpc_cidr    = local.network.network_vpc_cidr
  subnet_cidr = local.network.network_subnet_cidr
  hosts       = local.network.network_hosts
  flows       = local.network.network_flows
}

data "aws_availability_zones" "available" {
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"] # no local zones, which lack most instance types
  }
}

resource "aws_vpc" "main" {
  cidr_block           = module.network.vpc_cidr
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
  cidr_block        = module.network.subnet_cidr
  availability_zone = coalesce(var.zone, data.aws_availability_zones.available.names[0])
  tags              = { Name = var.name }

  lifecycle {
    ignore_changes = [availability_zone] # chosen once: another one would take hosts and their volumes with it

    postcondition {
      condition     = contains(["", self.availability_zone], var.zone)
      error_message = "The site stands in the zone ${self.availability_zone} and stays there; leave zone empty, not ${var.zone}."
    }
  }
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

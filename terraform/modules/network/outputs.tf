locals {
  # AWS keeps the first four addresses of a subnet and the last.
  reserved_ips = concat([for index in range(4) : cidrhost(var.subnet_cidr, index)], [cidrhost(var.subnet_cidr, -1)])

  # A range holds an address when the address, cut to the length of the range, is the range's first address.
  vpc_length            = split("/", var.vpc_cidr)[1]
  subnet_length         = split("/", var.subnet_cidr)[1]
  subnet_inside_the_vpc = tonumber(local.subnet_length) >= tonumber(local.vpc_length) && cidrhost("${cidrhost(var.subnet_cidr, 0)}/${local.vpc_length}", 0) == cidrhost(var.vpc_cidr, 0)
  hosts_outside_the_subnet = [
    for role, host in var.hosts : role
    if cidrhost("${host.private_ip}/${local.subnet_length}", 0) != cidrhost(var.subnet_cidr, 0)
  ]
  hosts_at_reserved_ips = [for role, host in var.hosts : role if contains(local.reserved_ips, host.private_ip)]

  # One rule per flow, keyed by what it says.
  rules                      = { for flow in var.flows : "${flow.from}-${flow.to}-${flow.port}" => flow }
  origins                    = concat(keys(var.hosts), ["operator", "lambda"])
  rules_from_unknown_origins = [for key, flow in local.rules : key if !contains(local.origins, flow.from)]
  rules_to_unknown_hosts     = [for key, flow in local.rules : key if !contains(concat(keys(var.hosts), ["ssm"]), flow.to)]
  rules_to_ssm_from_others   = [for key, flow in local.rules : key if flow.to == "ssm" && flow.from != "lambda"]
}

output "vpc_cidr" {
  description = "IPv4 range of the VPC."
  value       = var.vpc_cidr
}

output "subnet_cidr" {
  description = "IPv4 range of the subnet."
  value       = var.subnet_cidr

  precondition {
    condition     = local.subnet_inside_the_vpc
    error_message = "The subnet ${var.subnet_cidr} must lie inside the VPC ${var.vpc_cidr}."
  }
}

output "hosts" {
  description = "The hosts by role, each at an address that it can have."
  value       = var.hosts

  precondition {
    condition     = length(local.hosts_outside_the_subnet) == 0
    error_message = "The private_ip of a host must lie inside the subnet ${var.subnet_cidr}: ${join(", ", local.hosts_outside_the_subnet)}."
  }
  precondition {
    condition     = length(local.hosts_at_reserved_ips) == 0
    error_message = "AWS keeps the first four addresses and the last of a subnet for itself: ${join(", ", local.hosts_at_reserved_ips)}."
  }
}

output "rules" {
  description = "The flows, each under the name FROM-TO-PORT."
  value       = local.rules

  precondition {
    condition     = length(local.rules_from_unknown_origins) == 0
    error_message = "A flow must come from a host, operator or lambda: ${join(", ", local.rules_from_unknown_origins)}."
  }
  precondition {
    condition     = length(local.rules_to_unknown_hosts) == 0
    error_message = "A flow must go to a host or to ssm: ${join(", ", local.rules_to_unknown_hosts)}."
  }
  precondition {
    condition     = length(local.rules_to_ssm_from_others) == 0
    error_message = "The endpoint ssm is the generator's alone: ${join(", ", local.rules_to_ssm_from_others)}."
  }
}

# The network as people wrote it. Values of a wrong type or form stop here, each with its name; what needs two lists to be
# seen is in outputs.tf.

variable "vpc_cidr" {
  description = "IPv4 range of the VPC."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr))
    error_message = "network_vpc_cidr must be an IPv4 CIDR, for example 10.86.0.0/16: ${var.vpc_cidr}."
  }
}

variable "subnet_cidr" {
  description = "IPv4 range of the one subnet, inside the VPC's."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.subnet_cidr))
    error_message = "network_subnet_cidr must be an IPv4 CIDR, for example 10.86.1.0/24: ${var.subnet_cidr}."
  }
}

variable "hosts" {
  description = "The hosts by role. own_image is the repository of ours in ECR that the host pulls from, data_gb the size of a volume for what the host keeps."
  type = map(object({
    private_ip    = string
    instance_type = string
    volume_gb     = number
    own_image     = optional(string)
    data_gb       = optional(number)
  }))

  validation {
    condition = alltrue([for host in values(var.hosts) : can(cidrnetmask("${host.private_ip}/32"))])
    error_message = format("The private_ip of a host must be an IPv4 address: %s.", join(", ", [
      for role, host in var.hosts : role if !can(cidrnetmask("${host.private_ip}/32"))
    ]))
  }

  validation {
    condition = length(distinct(values(var.hosts)[*].private_ip)) == length(var.hosts)
    error_message = format("Every host must have a private_ip of its own: %s.", join(", ", [
      for role, host in var.hosts : role if length([for other in values(var.hosts) : 1 if other.private_ip == host.private_ip]) > 1
    ]))
  }

  validation {
    condition = alltrue([for host in values(var.hosts) : can(regex("^[a-z][a-z0-9-]+\\.[a-z0-9-]+$", host.instance_type))])
    error_message = format("The instance_type of a host must look like t3.medium: %s.", join(", ", [
      for role, host in var.hosts : role if !can(regex("^[a-z][a-z0-9-]+\\.[a-z0-9-]+$", host.instance_type))
    ]))
  }

  validation {
    condition = alltrue([for host in values(var.hosts) : host.volume_gb >= 8 && host.volume_gb <= 16384])
    error_message = format("The volume_gb of a host must be 8 to 16384: %s.", join(", ", [
      for role, host in var.hosts : role if host.volume_gb < 8 || host.volume_gb > 16384
    ]))
  }

  validation {
    condition = alltrue([for host in values(var.hosts) : coalesce(host.data_gb, 1) >= 1 && coalesce(host.data_gb, 1) <= 16384 && floor(coalesce(host.data_gb, 1)) == coalesce(host.data_gb, 1)])
    error_message = format("The data_gb of a host must be a whole number from 1 to 16384: %s.", join(", ", [
      for role, host in var.hosts : role
      if coalesce(host.data_gb, 1) < 1 || coalesce(host.data_gb, 1) > 16384 || floor(coalesce(host.data_gb, 1)) != coalesce(host.data_gb, 1)
    ]))
  }
}

variable "flows" {
  description = "Every flow that is allowed. from is a host, operator or lambda; to is a host or, from lambda, ssm."
  type = list(object({
    from = string
    to   = string
    port = number
    why  = string
  }))

  validation {
    condition = alltrue([for flow in var.flows : flow.port == floor(flow.port) && flow.port >= 1 && flow.port <= 65535])
    error_message = format("The port of a flow must be 1 to 65535: %s.", join(", ", [
      for flow in var.flows : "${flow.from}-${flow.to}-${flow.port}"
      if flow.port != floor(flow.port) || flow.port < 1 || flow.port > 65535
    ]))
  }

  validation {
    condition = alltrue([for flow in var.flows : flow.from != "operator" || flow.port == 22])
    error_message = format("Only ssh, port 22, is open to the operator: %s.", join(", ", [
      for flow in var.flows : "${flow.from}-${flow.to}-${flow.port}" if flow.from == "operator" && flow.port != 22
    ]))
  }

  validation {
    condition = alltrue([for flow in var.flows : trimspace(flow.why) != ""])
    error_message = format("A flow must say why it is allowed: %s.", join(", ", [
      for flow in var.flows : "${flow.from}-${flow.to}-${flow.port}" if trimspace(flow.why) == ""
    ]))
  }

  validation {
    condition = length(distinct([for flow in var.flows : "${flow.from}-${flow.to}-${flow.port}"])) == length(var.flows)
    error_message = format("A flow must be listed once: %s.", join(", ", [
      for key, same in { for flow in var.flows : "${flow.from}-${flow.to}-${flow.port}" => flow... } : key if length(same) > 1
    ]))
  }
}

variable "name" {
  description = "Prefix of every name, and the value of the tag that marks ownership."
  type        = string
  default     = "retailflow"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.name))
    error_message = "name must be 2 to 21 lower-case letters, digits or hyphens, starting with a letter."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the name of an AWS region, for example us-east-1."
  }
}

variable "zone" {
  description = "Availability zone of a new site; empty for the first of the region. A site that is there stays in its own."
  type        = string
  default     = ""

  validation {
    condition     = var.zone == "" || can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$", var.zone))
    error_message = "zone must be the name of an availability zone, for example us-east-1a."
  }
}

variable "operator_cidr" {
  description = "The only CIDR that may log in by ssh. No default: on AWS it must be chosen."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.operator_cidr)) && try(tonumber(split("/", var.operator_cidr)[1]), 0) >= 8
    error_message = "operator_cidr must be an IPv4 CIDR of at least /8, for example 203.0.113.7/32: ssh is never opened to the world."
  }
}

variable "public_key" {
  description = "OpenSSH public key of the operator."
  type        = string

  validation {
    condition     = can(regex("^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp[0-9]+) [A-Za-z0-9+/=]+", var.public_key))
    error_message = "public_key must be one line in OpenSSH's format."
  }
}

variable "network_file" {
  description = "YAML file with network_vpc_cidr, network_subnet_cidr, network_hosts and network_flows; empty for the file of the inventory."
  type        = string
  default     = ""

  validation {
    condition     = var.network_file == "" || can(yamldecode(file(var.network_file)).network_hosts)
    error_message = "network_file must be a YAML file with network_vpc_cidr, network_subnet_cidr, network_hosts and network_flows."
  }
}

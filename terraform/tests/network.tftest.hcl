# What the flow list yields, without an account: the provider is mocked.
mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a"] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  operator_cidr = "203.0.113.7/32"
  public_key    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMockMockMockMockMockMockMockMockMockMockMock"
  network_file  = "tests/network.yml"
}

run "one_rule_a_flow" {
  command = plan

  assert {
    condition     = toset(keys(aws_vpc_security_group_ingress_rule.flow)) == toset(["lambda-db-5432", "operator-db-22", "web-db-5432"])
    error_message = "Each flow must yield exactly one ingress rule."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.flow["operator-db-22"].cidr_ipv4 == "203.0.113.7/32"
    error_message = "The operator's flow must carry the operator's CIDR."
  }
  assert {
    condition     = alltrue([for key, rule in aws_vpc_security_group_ingress_rule.flow : rule.cidr_ipv4 == null if key != "operator-db-22"])
    error_message = "Only the operator's flow may name a CIDR."
  }
  assert {
    condition     = toset(keys(aws_vpc_security_group_egress_rule.lambda)) == toset(["lambda-db-5432"])
    error_message = "The generator may reach what its flows name, and nothing else."
  }
}

run "hosts_are_as_listed" {
  command = plan

  assert {
    condition     = { for role, host in aws_instance.host : role => host.instance_type } == { db = "t3.small", web = "t3.micro" }
    error_message = "One instance a listed host, of the listed size."
  }
  assert {
    condition     = alltrue([for host in aws_instance.host : host.metadata_options[0].http_tokens == "required" && host.root_block_device[0].encrypted])
    error_message = "IMDSv2 and encrypted disks are not optional."
  }
  assert {
    condition     = aws_network_interface.host["db"].private_ips == toset(["10.9.1.11"])
    error_message = "A host has the address that the list gives it."
  }
}

run "ssh_is_never_open_to_the_world" {
  command = plan
  variables {
    operator_cidr = "0.0.0.0/0"
  }
  expect_failures = [var.operator_cidr]
}

run "a_key_must_be_a_key" {
  command = plan
  variables {
    public_key = "not a key"
  }
  expect_failures = [var.public_key]
}

# What the flow list and the host list yield, without an account: the provider is mocked.
mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a"] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_vpc_endpoint" {
    defaults = { dns_entry = [{ dns_name = "vpce-1.ssm.example", hosted_zone_id = "Z1" }] }
  }
}

variables {
  operator_cidr = "203.0.113.7/32"
  public_key    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMockMockMockMockMockMockMockMockMockMockMock somebody's key"
  network_file  = "tests/network.yml"
}

run "what_the_lists_yield" {
  command = plan

  # --- rules
  assert {
    condition     = toset(keys(aws_vpc_security_group_ingress_rule.flow)) == toset(["lambda-db-5432", "lambda-ssm-443", "operator-db-22", "web_app-db-5432"])
    error_message = "Each flow must yield exactly one ingress rule."
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.flow : rule.ip_protocol == "tcp" && rule.from_port == rule.to_port])
    error_message = "A flow opens one port of TCP."
  }
  assert {
    condition     = { for key, rule in aws_vpc_security_group_ingress_rule.flow : key => rule.from_port } == { lambda-db-5432 = 5432, lambda-ssm-443 = 443, operator-db-22 = 22, web_app-db-5432 = 5432 }
    error_message = "A rule opens the port of its flow."
  }
  assert {
    condition     = { for key, rule in aws_vpc_security_group_ingress_rule.flow : key => rule.tags["Why"] } == { lambda-db-5432 = "write", lambda-ssm-443 = "read", operator-db-22 = "log in", web_app-db-5432 = "read" }
    error_message = "A rule says why it is there."
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
    condition     = toset(keys(aws_vpc_security_group_egress_rule.lambda)) == toset(["lambda-db-5432", "lambda-ssm-443"]) && alltrue([for rule in aws_vpc_security_group_egress_rule.lambda : rule.cidr_ipv4 == null])
    error_message = "The generator may reach what its flows name, and nothing else."
  }
  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "The VPC's default group lets nothing through."
  }

  # --- the generator's endpoint
  assert {
    condition     = aws_vpc_endpoint.ssm.service_name == "com.amazonaws.us-east-1.ssm" && aws_vpc_endpoint.ssm.vpc_endpoint_type == "Interface"
    error_message = "The generator reaches SSM by an interface endpoint."
  }
  assert {
    condition     = aws_vpc_endpoint.ssm.private_dns_enabled == false
    error_message = "Hosts reach SSM without the endpoint, which lets the generator alone in."
  }
  assert {
    condition     = toset(keys(aws_vpc_security_group_egress_rule.host)) == toset(["db", "web_app"])
    error_message = "The endpoint answers; it reaches nothing."
  }
  assert {
    condition     = flatten([for one in data.aws_iam_policy_document.ssm.statement : [one.actions, one.resources]]) == ["ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/retailflow/generator/*"]
    error_message = "By the endpoint nothing is reached but the generator's parameters, and nothing done but reading them."
  }
  assert {
    condition     = flatten([for one in data.aws_iam_policy_document.ssm.statement : [for rule in one.condition : [rule.test, rule.variable, rule.values]]]) == ["ArnEquals", "aws:PrincipalArn", "arn:aws:iam::123456789012:role/retailflow-generator"]
    error_message = "By the endpoint nobody asks but the generator."
  }

  # --- hosts
  assert {
    condition     = aws_key_pair.operator.public_key == "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMockMockMockMockMockMockMockMockMockMockMock"
    error_message = "A comment is no part of the key."
  }
  assert {
    condition     = { for role, host in aws_instance.host : role => host.instance_type } == { db = "t3.small", web_app = "t3.micro" }
    error_message = "One instance per listed host, of the listed size."
  }
  assert {
    condition     = { for role, host in aws_instance.host : role => host.root_block_device[0].volume_size } == { db = 10, web_app = 12 }
    error_message = "A host has a disk of the listed size."
  }
  assert {
    condition     = alltrue([for host in aws_instance.host : host.root_block_device[0].encrypted && host.root_block_device[0].volume_type == "gp3"])
    error_message = "Disks are encrypted gp3."
  }
  assert {
    condition     = { for role, volume in aws_ebs_volume.data : role => [volume.size, volume.encrypted, volume.type] } == { db = [5, true, "gp3"] } && toset(keys(aws_volume_attachment.data)) == toset(["db"])
    error_message = "What a host keeps is on an encrypted volume of its own, where the list says so."
  }
  assert {
    condition     = alltrue([for host in aws_instance.host : host.disable_api_termination])
    error_message = "No host can be ended from outside."
  }
  assert {
    condition     = alltrue([for host in aws_instance.host : host.metadata_options[0].http_tokens == "required" && host.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "IMDSv2 is required, and containers cannot reach it."
  }
  assert {
    condition     = { for role, interface in aws_network_interface.host : role => interface.private_ips } == { db = toset(["10.9.1.11"]), web_app = toset(["10.9.1.12"]) }
    error_message = "A host has the address that the list gives it."
  }

  # --- what hosts may do
  assert {
    condition     = { for role, host in aws_instance.host : role => host.iam_instance_profile } == { db = "retailflow-db", web_app = "retailflow-web-app" }
    error_message = "Every role has an instance profile of its own."
  }
  assert {
    condition     = { for role, profile in aws_iam_instance_profile.host : role => profile.role } == { db = "retailflow-db", web_app = "retailflow-web-app" }
    error_message = "Every profile carries the role of its host."
  }
  assert {
    condition     = [for one in data.aws_iam_policy_document.host["db"].statement : one.sid] == ["FindTheCluster", "JoinTheCluster", "WriteItsLogs"]
    error_message = "A host without an image of our own cannot log in to the registry."
  }
  assert {
    condition     = flatten([for one in data.aws_iam_policy_document.host["web_app"].statement : one.resources if one.sid == "PullItsImage"]) == ["arn:aws:ecr:us-east-1:123456789012:repository/retailflow/app"]
    error_message = "A host pulls from the repository of its own image alone."
  }
  assert {
    condition     = toset(flatten([for policy in data.aws_iam_policy_document.host : [for one in policy.statement : one.sid if contains(one.resources, "*")]])) == toset(["FindTheCluster", "LogInToTheRegistry"])
    error_message = "Only calls that name no resource are allowed on all of them."
  }
  assert {
    condition     = alltrue([for one in data.aws_iam_policy_document.listen.statement : toset(one.resources) == toset(["arn:aws:ecs:us-east-1:123456789012:container-instance/retailflow/none-yet"])])
    error_message = "A host listens for no container instance until it has registered one."
  }
  assert {
    condition     = { for role, policy in aws_iam_role_policy.listen : role => [policy.name, policy.role] } == { db = ["listen", "retailflow-db"], web_app = ["listen", "retailflow-web-app"] }
    error_message = "Every host has a policy of its own for what it listens to."
  }
  assert {
    condition     = alltrue(flatten([for policy in data.aws_iam_policy_document.host : [for one in policy.statement : [for action in one.actions : !endswith(action, "*")]]]))
    error_message = "A host may do what is named, not what a pattern matches."
  }

  # --- tags that the inventory and the teardown go by; the provider adds Project to every resource
  assert {
    condition     = { for role, host in aws_instance.host : role => [host.tags["Name"], host.tags["Role"]] } == { db = ["retailflow-db", "db"], web_app = ["retailflow-web-app", "web_app"] }
    error_message = "The inventory finds hosts by their tags."
  }
  assert {
    condition     = alltrue([for host in aws_instance.host : host.root_block_device[0].tags["Project"] == "retailflow"])
    error_message = "Disks carry the mark of ownership."
  }

  # --- outputs that Ansible reads
  assert {
    condition     = toset(keys(output.security_group_ids)) == toset(["db", "web_app", "lambda", "ssm"])
    error_message = "Ansible finds security groups by their role."
  }
}

run "a_site_is_made_in_the_zone_that_is_asked_for" {
  command = apply
  variables {
    zone = "us-east-1c"
  }
  override_data {
    target = data.aws_ami.debian
    values = { id = "ami-0123456789abcdef1" }
  }
  assert {
    condition     = output.ssm_endpoint == "https://vpce-1.ssm.example"
    error_message = "The function is told the endpoint's own name."
  }
  assert {
    condition     = aws_vpc_endpoint.ssm.subnet_ids == toset([aws_subnet.main.id]) && aws_vpc_endpoint.ssm.security_group_ids == toset([aws_security_group.main["ssm"].id])
    error_message = "The endpoint stands in the site's subnet, behind its own group."
  }
  assert {
    condition     = aws_subnet.main.availability_zone == "us-east-1c" && aws_ebs_volume.data["db"].availability_zone == "us-east-1c" && output.zone == "us-east-1c"
    error_message = "Hosts and volumes stand in one zone."
  }
}

run "it_stays_there_when_zones_come_in_another_order" {
  command = apply
  override_data {
    target = data.aws_availability_zones.available
    values = { names = ["us-east-1b", "us-east-1a"] }
  }
  assert {
    condition     = output.ssm_endpoint == "https://vpce-1.ssm.example"
    error_message = "The function is told the endpoint's own name."
  }
  assert {
    condition     = aws_vpc_endpoint.ssm.subnet_ids == toset([aws_subnet.main.id]) && aws_vpc_endpoint.ssm.security_group_ids == toset([aws_security_group.main["ssm"].id])
    error_message = "The endpoint stands in the site's subnet, behind its own group."
  }
  assert {
    condition     = aws_subnet.main.availability_zone == "us-east-1c" && aws_ebs_volume.data["db"].availability_zone == "us-east-1c"
    error_message = "The zone was chosen once."
  }
}

run "another_image_size_and_address_change_no_zone" {
  command = apply
  variables {
    network_file = "tests/other.yml"
  }
  override_data {
    target = data.aws_ami.debian
    values = { id = "ami-0123456789abcdef2" }
  }
  assert {
    condition     = aws_instance.host["db"].ami == "ami-0123456789abcdef1" && aws_instance.host["db"].instance_type == "t3.large" && aws_subnet.main.availability_zone == "us-east-1c"
    error_message = "A site that is there keeps image and zone, and takes another size."
  }
}

run "a_zone_cannot_be_changed" {
  command = plan
  variables {
    zone = "us-east-1d"
  }
  expect_failures = [aws_subnet.main]
}

run "another_site_beside_it" {
  command = plan
  variables {
    name = "shop-2"
  }
  assert {
    condition     = toset([for host in aws_instance.host : host.tags["Name"]]) == toset(["shop-2-db", "shop-2-web-app"]) && aws_key_pair.operator.key_name == "shop-2" && aws_instance.host["db"].root_block_device[0].tags["Project"] == "shop-2"
    error_message = "Every name and the mark of ownership follow the site's name."
  }
}

run "the_projects_own_list" {
  command = plan
  variables {
    network_file = ""
  }
  assert {
    condition     = toset(keys(aws_instance.host)) == toset(["postgres", "airbyte", "dagster_dbt", "metabase"])
    error_message = "Without a file it is the inventory's list that counts."
  }
}

run "ssh_is_never_open_to_the_world" {
  command = plan
  variables {
    operator_cidr = "0.0.0.0/0"
  }
  expect_failures = [var.operator_cidr]
}

run "nor_to_half_of_it" {
  command = plan
  variables {
    operator_cidr = "128.0.0.0/1"
  }
  expect_failures = [var.operator_cidr]
}

run "bad_variables" {
  command = plan
  variables {
    operator_cidr = "my office"
    public_key    = "not a key"
    region        = "Virginia"
    name          = "Retail Flow"
    network_file  = "versions.tf"
  }
  expect_failures = [var.operator_cidr, var.public_key, var.region, var.name, var.network_file]
}

# The hosts: each an instance with its address, its disk and an IAM role of its own.

locals {
  names = { for role in keys(local.hosts) : role => "${var.name}-${replace(role, "_", "-")}" }

  # The beginnings of ARNs in this account and region, by service.
  arn = {
    for service in ["ecs", "ecr", "logs", "ssm"] : service => join(":", [
      "arn", data.aws_partition.current.partition, service, var.region, data.aws_caller_identity.current.account_id
    ])
  }
}

# The backups of PostgreSQL. Ansible makes the bucket, which outlives the site; its name must be the only one of the world.
locals {
  backup_bucket = "${var.name}-backup-${data.aws_caller_identity.current.account_id}-${var.region}"
  backup_arn    = "arn:${data.aws_partition.current.partition}:s3:::${local.backup_bucket}"
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_ami" "debian" {
  most_recent = true
  owners      = ["136693071363"] # Debian

  filter {
    name   = "name"
    values = ["debian-12-amd64-*"]
  }
}

resource "aws_key_pair" "operator" {
  key_name = var.name
  # Without its comment, which whoever asks may write or not: another one would replace the pair.
  public_key = regex("^\\S+ \\S+", var.public_key)
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

# What the ECS agent and the engine of a host need, for this site and this role only. AWS's own policy for container
# instances would also let a host make clusters, join any of them, read every image and write every log. What the agent asks for
# with other settings than ours is left out: it drains spot instances (UpdateContainerInstancesState) and reports network
# interfaces of tasks (SubmitAttachmentStateChanges). It never deregisters itself.
data "aws_iam_policy_document" "host" {
  for_each = local.hosts

  statement {
    sid       = "FindTheCluster"
    actions   = ["ecs:DiscoverPollEndpoint"]
    resources = ["*"] # names no resource
  }
  statement {
    sid = "JoinTheCluster"
    actions = [
      "ecs:RegisterContainerInstance",
      "ecs:SubmitContainerStateChange",
      "ecs:SubmitTaskStateChange",
    ]
    resources = ["${local.arn.ecs}:cluster/${var.name}"]
  }
  statement {
    sid       = "WriteItsLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${local.arn.logs}:log-group:/${var.name}/${each.key}/*"]
  }

  # It lists, reads and writes; of a deleted object the bucket keeps the version, which the host cannot remove.
  dynamic "statement" {
    for_each = each.key == "postgres" ? [local.backup_arn] : []
    content {
      sid       = "ListItsBackups"
      actions   = ["s3:ListBucket"]
      resources = [statement.value]
    }
  }
  dynamic "statement" {
    for_each = each.key == "postgres" ? [local.backup_arn] : []
    content {
      sid       = "StoreItsBackups"
      actions   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
      resources = ["${statement.value}/*"]
    }
  }

  # Only a host that runs an image of our own reads a repository, and only that one.
  dynamic "statement" {
    for_each = each.value.own_image == null ? [] : ["*"]
    content {
      sid       = "LogInToTheRegistry"
      actions   = ["ecr:GetAuthorizationToken"]
      resources = [statement.value] # names no resource
    }
  }
  dynamic "statement" {
    for_each = each.value.own_image == null ? [] : [each.value.own_image]
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

# By these an agent takes its orders and sends its measures. AWS limits them to a container instance by its ARN; tags it does not
# compare: ecs:cluster is their only condition key ("Actions, resources, and condition keys for Amazon Elastic Container Service",
# Service Authorization Reference). The ARN is known when the agent has registered the host. So nothing is named here, the role
# ecs-agent names what is the host's own, and Terraform leaves what it wrote.
data "aws_iam_policy_document" "listen" {
  statement {
    sid       = "ListenToTheCluster"
    actions   = ["ecs:Poll", "ecs:StartTelemetrySession"]
    resources = ["${local.arn.ecs}:container-instance/${var.name}/none-yet"]
  }
}

resource "aws_iam_role_policy" "listen" {
  for_each = local.hosts
  name     = "listen" # retailflow_listen_policy
  role     = aws_iam_role.host[each.key].name
  policy   = data.aws_iam_policy_document.listen.json

  lifecycle {
    ignore_changes = [policy]
  }
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

  # Neither a click in the console nor another program ends a host. Terraform's provider turns it off before it destroys one
  # (from its version 6 on, force_destroy asks for that), which only happens behind the guard.
  disable_api_termination = true

  network_interface {
    network_interface_id = aws_network_interface.host[each.key].id
    device_index         = 0
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1 # containers on a bridge network cannot get the host's credentials
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = each.value.volume_gb
    encrypted   = true
    tags        = merge(local.tags, { Name = local.names[each.key] })
  }

  lifecycle {
    # A newer Debian image must not replace a host that holds data. The interface is not read back when a host is imported
    # (issue 16567 of hashicorp/terraform-provider-aws), which would replace it; a new one does replace its host.
    ignore_changes       = [ami, network_interface]
    replace_triggered_by = [aws_network_interface.host[each.key].id]
  }
}

# What a host keeps outlives it: a host that was made again finds its volume and the data on it. There is no prevent_destroy,
# which nobody could lift by naming a volume: playbooks/library/guarded_terraform.py refuses to remove one that is not named,
# makes the state forget all of them before it removes a site, and imports what an earlier site has kept.
locals {
  keepers = { for role, host in local.hosts : role => host if host.data_gb != null }
}

resource "aws_ebs_volume" "data" {
  for_each          = local.keepers
  availability_zone = aws_subnet.main.availability_zone
  type              = "gp3"
  size              = each.value.data_gb
  encrypted         = true
  tags              = { Name = "${local.names[each.key]}-data", Role = each.key }
}

resource "aws_volume_attachment" "data" {
  for_each    = aws_ebs_volume.data
  device_name = "/dev/sdf"
  volume_id   = each.value.id
  instance_id = aws_instance.host[each.key].id

  stop_instance_before_detaching = true # so that everything is written
}

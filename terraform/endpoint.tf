# The way of the generator, which has no other out of the VPC, to its password: Ansible keeps that as a parameter of AWS's Systems
# Manager. One subnet is enough, for all of the site is in it.

data "aws_iam_policy_document" "ssm" {
  statement {
    sid       = "ReadThePasswordOfTheGenerator"
    actions   = ["ssm:GetParameter"]
    resources = ["${local.arn.ssm}:parameter/${var.name}/generator/*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:PrincipalArn" # of a session, the ARN of its role
      values   = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:role/${var.name}-generator"]
    }
  }
}

resource "aws_vpc_endpoint" "ssm" {
  vpc_id             = aws_vpc.main.id
  vpc_endpoint_type  = "Interface"
  service_name       = "com.amazonaws.${var.region}.ssm"
  subnet_ids         = [aws_subnet.main.id]
  security_group_ids = [aws_security_group.main["ssm"].id]
  policy             = data.aws_iam_policy_document.ssm.json
  tags               = { Name = "${var.name}-ssm" }

  # Else the hosts would reach SSM by it too, whose agents read the secrets of ECS services there: neither the group nor the policy
  # lets them. https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html
  private_dns_enabled = false
}

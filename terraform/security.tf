# Who may talk to whom: one security group per host, one for the generator and one for its endpoint, with the rules of the flow list.

# Nothing uses the group that comes with a VPC: it lets nothing in or out.
resource "aws_default_security_group" "closed" {
  vpc_id  = aws_vpc.main.id
  ingress = []
  egress  = []
  tags    = { Name = "${var.name}-default" }
}

resource "aws_security_group" "main" {
  for_each    = toset(concat(keys(local.hosts), ["lambda", "ssm"]))
  name        = "${var.name}-${each.key}"
  description = "RetailFlow ${each.key}"
  vpc_id      = aws_vpc.main.id
  tags        = { Name = "${var.name}-${each.key}", Role = each.key }
}

resource "aws_vpc_security_group_ingress_rule" "flow" {
  for_each                     = module.network.rules
  security_group_id            = aws_security_group.main[each.value.to].id
  cidr_ipv4                    = each.value.from == "operator" ? var.operator_cidr : null
  referenced_security_group_id = each.value.from == "operator" ? null : aws_security_group.main[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = { Name = each.key, Why = each.value.why }
}

# Hosts fetch packages and images and reach Snowflake.
resource "aws_vpc_security_group_egress_rule" "host" {
  for_each          = local.hosts
  security_group_id = aws_security_group.main[each.key].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
  tags              = { Name = "${each.key}-out" }
}

# The generator reaches PostgreSQL and the endpoint, and nothing else; the endpoint answers.
resource "aws_vpc_security_group_egress_rule" "lambda" {
  for_each                     = { for key, flow in module.network.rules : key => flow if flow.from == "lambda" }
  security_group_id            = aws_security_group.main["lambda"].id
  referenced_security_group_id = aws_security_group.main[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = { Name = "${each.key}-out" }
}

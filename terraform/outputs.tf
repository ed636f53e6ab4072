output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.main.id
}

output "subnet_id" {
  description = "Id of the subnet that hosts and the generator share."
  value       = aws_subnet.main.id
}

output "security_group_ids" {
  description = "Security group id by role, the generator's under \"lambda\"."
  value       = { for role, group in aws_security_group.main : role => group.id }
}

output "instance_ids" {
  description = "Instance id by role."
  value       = { for role, instance in aws_instance.host : role => instance.id }
}

output "public_ips" {
  description = "Address by which the operator reaches a host, by role."
  value       = { for role, address in aws_eip.host : role => address.public_ip }
}

output "instance_role_arns" {
  description = "IAM role of a host, by role."
  value       = { for role, made in aws_iam_role.host : role => made.arn }
}

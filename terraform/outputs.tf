# What Ansible reads.

output "subnet_id" {
  description = "Id of the subnet that hosts and the generator share."
  value       = aws_subnet.main.id
}

output "security_group_ids" {
  description = "Security group id by role, the generator's under \"lambda\"."
  value       = { for role, group in aws_security_group.main : role => group.id }
}

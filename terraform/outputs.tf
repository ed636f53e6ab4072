# What Ansible reads.

output "subnet_id" {
  description = "Id of the subnet that hosts and the generator share."
  value       = aws_subnet.main.id
}

output "zone" {
  description = "Availability zone of the site, chosen when it was made."
  value       = aws_subnet.main.availability_zone
}

output "security_group_ids" {
  description = "Security group id by role, the generator's under \"lambda\"."
  value       = { for role, group in aws_security_group.main : role => group.id }
}

output "backup_bucket" {
  description = "Name of the bucket of PostgreSQL's backups, which Ansible makes."
  value       = local.backup_bucket
}

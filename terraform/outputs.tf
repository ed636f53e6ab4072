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
  description = "Security group id by role, the generator's under \"lambda\", that of its endpoint under \"ssm\"."
  value       = { for role, group in aws_security_group.main : role => group.id }
}

output "ssm_endpoint" {
  description = "Where the generator asks for its password: the endpoint by its own name."
  value       = "https://${aws_vpc_endpoint.ssm.dns_entry[0].dns_name}"
}

output "backup_bucket" {
  description = "Name of the bucket of PostgreSQL's backups, which Ansible makes."
  value       = local.backup_bucket
}

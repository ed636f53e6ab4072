terraform {
  required_version = ">= 1.10"

  # The path comes from the caller, one state a target: -backend-config=path=…
  backend "local" {}

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}

# What is refused in the lists that people write: every kind of mistake alone, on top of lists that are right.

variables {
  vpc_cidr    = "10.9.0.0/16"
  subnet_cidr = "10.9.1.0/24"
  hosts = {
    db  = { private_ip = "10.9.1.11", instance_type = "t3.small", volume_gb = 10 }
    web = { private_ip = "10.9.1.12", instance_type = "m6i.2xlarge", volume_gb = 16384, own_image = "app" }
  }
  flows = [
    { from = "operator", to = "db", port = 22, why = "log in" },
    { from = "lambda", to = "db", port = 1, why = "write" },
    { from = "web", to = "db", port = 65535, why = "read" },
  ]
}

run "lists_that_are_right" {
  command = plan
  module { source = "./modules/network" }

  assert {
    condition     = toset(keys(output.rules)) == toset(["operator-db-22", "lambda-db-1", "web-db-65535"])
    error_message = "Every flow is a rule, named for what it says."
  }
  assert {
    condition     = output.hosts["db"].own_image == null && output.hosts["web"].own_image == "app"
    error_message = "A host has an image of its own only where the list says so."
  }
}

run "a_vpc_without_a_range" {
  command = plan
  module { source = "./modules/network" }

  variables {
    vpc_cidr = "my network"
  }
  expect_failures = [var.vpc_cidr]
}

run "a_subnet_without_a_range" {
  command = plan
  module { source = "./modules/network" }

  variables {
    subnet_cidr = "10.9.1.0"
  }
  expect_failures = [var.subnet_cidr]
}

run "a_subnet_outside_of_its_vpc" {
  command = plan
  module { source = "./modules/network" }

  variables {
    subnet_cidr = "10.10.1.0/24"
  }
  expect_failures = [output.subnet_cidr, output.hosts]
}

run "a_subnet_larger_than_its_vpc" {
  command = plan
  module { source = "./modules/network" }

  variables {
    subnet_cidr = "10.8.0.0/15"
  }
  expect_failures = [output.subnet_cidr]
}

run "a_host_at_something_else_than_an_address" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "db.internal", instance_type = "t3.small", volume_gb = 10 }
      web = { private_ip = "10.9.1.12", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [var.hosts]
}

run "a_host_outside_of_the_subnet" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "10.9.2.11", instance_type = "t3.small", volume_gb = 10 }
      web = { private_ip = "10.9.1.12", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [output.hosts]
}

run "a_host_at_an_address_that_aws_keeps" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "10.9.1.3", instance_type = "t3.small", volume_gb = 10 }
      web = { private_ip = "10.9.1.12", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [output.hosts]
}

run "a_host_at_the_last_address" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "10.9.1.255", instance_type = "t3.small", volume_gb = 10 }
      web = { private_ip = "10.9.1.12", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [output.hosts]
}

run "a_host_without_a_family_of_instances" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "10.9.1.11", instance_type = "medium", volume_gb = 10 }
      web = { private_ip = "10.9.1.12", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [var.hosts]
}

run "a_host_with_too_small_a_volume" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "10.9.1.11", instance_type = "t3.small", volume_gb = 7 }
      web = { private_ip = "10.9.1.12", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [var.hosts]
}

run "a_host_with_too_large_a_volume" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "10.9.1.11", instance_type = "t3.small", volume_gb = 16385 }
      web = { private_ip = "10.9.1.12", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [var.hosts]
}

run "a_host_with_too_small_a_volume_for_its_data" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "10.9.1.11", instance_type = "t3.small", volume_gb = 10, data_gb = 0 }
      web = { private_ip = "10.9.1.12", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [var.hosts]
}

run "a_host_with_half_a_gigabyte_for_its_data" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "10.9.1.11", instance_type = "t3.small", volume_gb = 10, data_gb = 1.5 }
      web = { private_ip = "10.9.1.12", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [var.hosts]
}

run "two_hosts_at_one_address" {
  command = plan
  module { source = "./modules/network" }

  variables {
    hosts = {
      db  = { private_ip = "10.9.1.11", instance_type = "t3.small", volume_gb = 10 }
      web = { private_ip = "10.9.1.11", instance_type = "t3.small", volume_gb = 10 }
    }
  }
  expect_failures = [var.hosts]
}

run "a_flow_from_an_unknown_origin" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "office", to = "db", port = 5432, why = "read" }]
  }
  expect_failures = [output.rules]
}

run "a_flow_to_an_unknown_host" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "web", to = "cache", port = 5432, why = "read" }]
  }
  expect_failures = [output.rules]
}

run "a_flow_to_the_generator" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "web", to = "lambda", port = 5432, why = "read" }]
  }
  expect_failures = [output.rules]
}

run "a_flow_of_another_to_the_endpoint_of_the_generator" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "web", to = "ssm", port = 443, why = "read" }]
  }
  expect_failures = [output.rules]
}

run "a_flow_on_port_zero" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "web", to = "db", port = 0, why = "read" }]
  }
  expect_failures = [var.flows]
}

run "a_flow_on_a_port_above_all" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "web", to = "db", port = 65536, why = "read" }]
  }
  expect_failures = [var.flows]
}

run "a_flow_on_half_a_port" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "web", to = "db", port = 22.5, why = "read" }]
  }
  expect_failures = [var.flows]
}

run "a_flow_of_the_operator_that_is_not_ssh" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "operator", to = "db", port = 3000, why = "read" }]
  }
  expect_failures = [var.flows]
}

run "a_flow_without_a_reason" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "web", to = "db", port = 5432, why = " " }]
  }
  expect_failures = [var.flows]
}

run "a_flow_listed_twice" {
  command = plan
  module { source = "./modules/network" }

  variables {
    flows = [{ from = "web", to = "db", port = 5432, why = "read" }, { from = "web", to = "db", port = 5432, why = "read" }]
  }
  expect_failures = [var.flows]
}

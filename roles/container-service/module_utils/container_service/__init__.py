"""What the module ecs_workload is made of: workload uses resources, resources uses task_definition, errors uses none."""

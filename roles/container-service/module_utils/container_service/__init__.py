"""What the module ecs_workload is made of. Each of these uses only those after it: workload (what is asked for), deployment
(what ECS makes of it), resources and roles (what belongs to it), task_definition (what it runs), errors. sweep uses resources.
"""

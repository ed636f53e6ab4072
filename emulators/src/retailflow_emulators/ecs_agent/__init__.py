"""Embedded ECS agent: runs the tasks of one local host in the place of Amazon's agent.

It registers its host with the emulated API, asks what the host shall run (`agent`), and brings each task there by the host's
Docker engine (`tasks`). Only Docker is real: Amazon's agent (github.com/aws/amazon-ecs-agent) is the model for words, names
and defaults, and what it does beyond this package is refused by name.
"""

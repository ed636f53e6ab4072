"""The embedded ECS agent against an engine and an API in memory."""

"""Jobs: a source piped into a destination, attempt by attempt.

`runner` runs jobs in threads, `attempt` prepares one run of a source into a destination, `pump` is that run.
Whatever is killed, the next sync starts from the last state that the destination has sent back.
"""

from .runner import JobRunner

__all__ = ["JobRunner"]

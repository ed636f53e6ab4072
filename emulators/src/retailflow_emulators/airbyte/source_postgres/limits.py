"""How many rows lie between two checkpoints, how long a read waits for others, and how often it beats (seconds)."""

CHECKPOINT_ROWS = 100_000
SETTLE_SECONDS = 10  # for the end of the transactions that run when the slot is moved on
WRITERS_SECONDS = 60  # for those who are writing to a table, before its snapshot begins
LOCK_SECONDS = 10  # until it is logged that a read waits for a lock
LOCK_TRIES = 30  # of so many seconds, before a read gives up
HEARTBEAT_SECONDS = 10  # from one heartbeat to the next while the log is read

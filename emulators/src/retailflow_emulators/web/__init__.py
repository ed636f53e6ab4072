"""What every server of this package has in common: the bounds of what a client may send, and how it listens."""

"""When things run, together with what, and for how long we remember it."""

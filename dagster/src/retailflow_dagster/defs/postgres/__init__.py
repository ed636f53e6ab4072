"""PostgreSQL: the shop's table, and the check that nothing of it got lost on the way."""

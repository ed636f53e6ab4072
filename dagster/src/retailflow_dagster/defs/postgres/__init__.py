"""PostgreSQL: the shop's table, and the check that no row was lost on the way."""

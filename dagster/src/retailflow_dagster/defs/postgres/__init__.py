"""PostgreSQL: the shop's table, and the check that no row is lost on the way."""

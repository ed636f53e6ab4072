"""What the module postgres_setup is made of: `setup` uses the others, `errors` uses none."""

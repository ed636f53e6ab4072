"""What the modules for Airbyte are made of: `workspace` and `refresh` use the others, `errors` uses none."""

"""What the module lambda_operation is made of: `operation` uses `parts`, `errors` uses none."""

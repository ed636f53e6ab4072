"""What Dagster knows, one package for each system."""

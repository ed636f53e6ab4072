"""What people look at: the end of the lineage."""

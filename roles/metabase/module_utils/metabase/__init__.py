"""What the module metabase_content is made of: `reconciler` uses the others, `errors` uses none."""

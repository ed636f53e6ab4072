"""What a run and its dbt command import; `lib.warm` forks them from a process that has imported this."""

import gc
import importlib

for module in (".definitions", "dbt.cli.main", "dbt.adapters.snowflake", "snowflake.connector"):
    importlib.import_module(module, __package__)

# A process that is forked from here copies no memory only to count references in it.
gc.collect()
gc.freeze()

"""Parses the dbt project before any test imports the definitions, which read what the parse wrote."""

import dbt_support

dbt_support.manifest()

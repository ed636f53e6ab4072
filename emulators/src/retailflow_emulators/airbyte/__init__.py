"""Embedded Airbyte: the slice of Airbyte's public API that clients use, over Airbyte-protocol connectors.

`api` answers HTTP, `store` keeps state in SQLite, `jobs` runs a source and a destination as subprocesses
that speak the Airbyte protocol, `source_postgres` and `destination_snowflake` are the connectors.
"""

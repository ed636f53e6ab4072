"""RetailFlow's code location: Airbyte sync, dbt build and reconciliation as one graph of assets."""

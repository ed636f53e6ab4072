"""dbt: staging and marts, with dbt's tests as asset checks."""

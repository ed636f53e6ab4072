"""destination-snowflake (embedded): parquet, PUT, COPY, MERGE, into tables as Airbyte's v4 makes them."""

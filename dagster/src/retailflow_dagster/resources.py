"""Resources from the environment. A missing variable fails the run that needs it, by name; it does not keep
the definitions from loading.
"""

import os
from typing import Any

import dagster as dg

from .lib.airbyte import AirbyteSync
from .lib.dbt import dbt_resource
from .lib.postgres import Shop
from .lib.snowflake import Warehouse


def resources_from_env() -> dict[str, Any]:
    """Everything that an asset or a check may ask for, keyed by resource name."""
    env = os.environ.get
    return {
        "airbyte": AirbyteSync(
            url=dg.EnvVar("AIRBYTE_URL"),
            authority_file=env("AIRBYTE_AUTHORITY_FILE", ""),
            client_id=dg.EnvVar("AIRBYTE_CLIENT_ID"),
            client_secret=dg.EnvVar("AIRBYTE_CLIENT_SECRET"),
            workspace_id=env("AIRBYTE_WORKSPACE_ID", ""),
            connection_name=dg.EnvVar("AIRBYTE_CONNECTION_NAME"),
            sync_timeout=float(env("AIRBYTE_SYNC_TIMEOUT_SECONDS", "1800")),
            poll_interval=float(env("AIRBYTE_POLL_INTERVAL_SECONDS", "2")),
        ),
        "dbt": dbt_resource(),
        "shop": Shop(
            host=dg.EnvVar("SHOP_PG_HOST"),
            port=int(env("SHOP_PG_PORT", "5432")),
            database=dg.EnvVar("SHOP_PG_DATABASE"),
            user=dg.EnvVar("SHOP_PG_USER"),
            password=dg.EnvVar("SHOP_PG_PASSWORD"),
        ),
        "warehouse": Warehouse(
            account=dg.EnvVar("SNOWFLAKE_ACCOUNT"),
            host=env("SNOWFLAKE_HOST", ""),
            port=int(env("SNOWFLAKE_PORT", "443")),
            disable_ocsp_checks=bool(env("SNOWFLAKE_AUTHORITY", "")),
            user=env("SNOWFLAKE_USER", "DBT"),
            role=env("SNOWFLAKE_ROLE", "TRANSFORMER"),
            warehouse=env("SNOWFLAKE_WAREHOUSE", "TRANSFORMING"),
            database=env("SNOWFLAKE_DATABASE", "ANALYTICS"),
            raw_schema=f"{env('SNOWFLAKE_RAW_DATABASE', 'RAW')}.{env('SNOWFLAKE_RAW_SCHEMA', 'RETAIL')}",
            private_key_path=env("SNOWFLAKE_PRIVATE_KEY_PATH", ""),
            private_key=env("SNOWFLAKE_PRIVATE_KEY", ""),
        ),
    }

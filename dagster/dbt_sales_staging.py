"""The sales cycle on its own: ``dagster job execute -f dbt_sales_staging.py`` syncs, transforms and checks
once.

Run it in this directory, in the container ``dagster-dbt``. It waits for a cycle of the schedule that is
running. Every other command with ``-f dbt_sales_staging.py`` works as well: ``dagster job list``,
``dagster job print``, ``dagster asset list``, ``dagster asset materialize``, ``dagster definitions validate``.
"""

from retailflow_dagster.definitions import sales_definitions
from retailflow_dagster.lib.one_job import repository_of_one_job

sales = repository_of_one_job(sales_definitions(), "sales_job")

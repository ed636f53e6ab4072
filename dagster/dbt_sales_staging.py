"""The sales cycle on its own: ``dagster job execute -f dbt_sales_staging.py`` syncs, transforms and checks
once.

Run it in this directory, in the container ``dagster-dbt``. A cycle of the schedule that is under way is
waited for.
"""

from retailflow_dagster.definitions import sales_definitions

# A job and not the definitions: those would bring Dagster's own __ASSET_JOB along, and `-f` wants exactly
# one job.
sales_job = sales_definitions().resolve_job_def("sales_job")

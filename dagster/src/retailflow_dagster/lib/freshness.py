"""How old RAW and the marts may be before Dagster's pages call them stale."""

import os
from datetime import timedelta

import dagster as dg

MINUTES = float(os.environ.get("FRESHNESS_MINUTES", "30"))
FRESHNESS = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(minutes=MINUTES), warn_window=timedelta(minutes=MINUTES / 2)
)

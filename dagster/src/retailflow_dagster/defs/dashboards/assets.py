"""The dashboards, as dbt's exposures name them. Dagster shows them and where their figures come from."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

#: Kinds that Dagster's pages have a picture for, by dbt's type of exposure.
KINDS = {"dashboard": "dashboard", "notebook": "notebook"}


def dashboards(manifest: Mapping[str, Any], translator: DagsterDbtTranslator) -> Sequence[dg.AssetSpec]:
    """One external asset per exposure, downstream of the models (or sources) that it depends on."""
    nodes = manifest["nodes"] | manifest["sources"]
    return [
        dg.AssetSpec(
            key=["dashboards", exposure["name"]],
            deps=[
                translator.get_asset_key(nodes[unique_id])
                for unique_id in sorted(exposure["depends_on"]["nodes"])
            ],
            group_name="dashboards",
            kinds={KINDS.get(exposure["type"], "dbt")},
            description=exposure["description"] or exposure.get("label") or exposure["name"],
            metadata={"url": dg.MetadataValue.url(exposure["url"])} if exposure.get("url") else {},
        )
        for _, exposure in sorted(manifest["exposures"].items())
    ]

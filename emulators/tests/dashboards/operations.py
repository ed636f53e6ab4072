"""What was tried with clients that this project was not built with: the table in emulators/README.md.

python emulators/tests/dashboards/operations.py --write      writes the table into the README
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
CLI, DBT = ("Metabase's command line", "0.3.1"), ("dbt-metabase", "1.7.5")
WORKS, NOT_HERE = "works", "not emulated"
OPERATIONS = (
    (CLI, "auth login with an API key", WORKS),
    (CLI, "card list, get, query, create, update, archive; export as CSV and JSON", WORKS),
    (CLI, "dashboard list, get, cards, parameter-values, create, update, update-dashcard, archive", WORKS),
    (CLI, "collection list, get, items, tree, create, archive", WORKS),
    (CLI, "db list, get, schemas, schema-tables, sync-schema", WORKS),
    (CLI, "table list, get, fields, update; field get, update", WORKS),
    (CLI, "query of SQL", WORKS),
    (CLI, "search", NOT_HERE),
    (CLI, "snippet list", NOT_HERE),
    (CLI, "field values", NOT_HERE),
    (CLI, "db rescan-values", NOT_HERE),
    (CLI, "setting list", NOT_HERE),
    (DBT, "models: descriptions and the order of columns", WORKS),
    (DBT, "exposures of cards and dashboards", WORKS),
)
_MARKS = "<!-- dashboards' clients -->", "<!-- /dashboards' clients -->"


def table() -> str:
    """The table in Markdown."""
    rows = [f"| {name} | {version} | {what} | {verdict} |" for (name, version), what, verdict in OPERATIONS]
    return "\n".join(["| client | version | operations | verdict |", "|---|---|---|---|", *rows])


def written(text: str) -> str:
    """The README with the table as it is now."""
    begin, end = map(re.escape, _MARKS)
    return re.sub(
        f"{begin}.*{end}", lambda _: "\n".join([_MARKS[0], table(), _MARKS[1]]), text, flags=re.DOTALL
    )


if __name__ == "__main__" and "--write" in sys.argv:
    README.write_text(written(README.read_text()))

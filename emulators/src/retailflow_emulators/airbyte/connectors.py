"""The connectors that embedded Airbyte carries, under the definition ids that Airbyte publishes for them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["source", "destination"]


@dataclass(frozen=True)
class Connector:
    """A connector: how the API names it and the command that speaks the Airbyte protocol.

    `version` is that of Airbyte's connector whose contract it keeps: columns, types, messages.
    """

    kind: Kind
    type: str
    name: str
    definition_id: str
    command: tuple[str, ...]
    version: str = "0.0.0"


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"{__package__}.{name}")


CATALOG: Sequence[Connector] = (
    Connector(
        kind="source",
        type="postgres",
        name="Postgres (embedded)",
        definition_id="decd338e-5647-4c0b-adf4-da0e75f5a750",
        command=_module("source_postgres"),
        version="3.7.0",
    ),
    Connector(
        kind="destination",
        type="snowflake",
        name="Snowflake (embedded)",
        definition_id="424892c4-daac-4491-b35d-c6688ba547ba",
        command=_module("destination_snowflake"),
        version="4.0.33",
    ),
)

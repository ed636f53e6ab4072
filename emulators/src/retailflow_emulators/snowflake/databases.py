"""The databases on disk: one DuckDB file each, attached at the start, their logs folded away at rest."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
from fakesnow import info_schema
from fakesnow import macros as upstream_macros

from . import columntypes, loads, macros, patches  # noqa: F401 (loads: a patch)
from .access.guard import Gate
from .access.metering import Meter
from .access.model import Account, Key
from .quoting import database_file, identifier, literal
from .session import Instance
from .settings import Settings

log = logging.getLogger("retailflow.snowflake")

# Statements that Snowflake needs and DuckDB has no notion of: accepted, and without effect.
NOP_REGEXES = [r"^\s*alter\s+session\b(?!.*\bautocommit\b)"]
RESULTS_KEPT = 64  # results that RESULT_SCAN and late fetches may still read; upstream keeps all for ever


class RecentResults(OrderedDict[str, Any]):
    """The last ``RESULTS_KEPT`` results by query id."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > RESULTS_KEPT:
            self.popitem(last=False)


def open_instance(settings: Settings) -> Instance:
    """An instance whose databases live in ``settings.data``, with those already there attached."""
    patches.apply()
    instance = Instance(
        create_database_on_connect=False,
        create_schema_on_connect=False,
        db_path=settings.data,
        nop_regexes=NOP_REGEXES,
    )
    instance.results_cache = RecentResults()
    instance.lock_seconds = settings.lock
    account = Account(settings.data / "account.json", settings.account)
    account.make_administrator(settings.admin_user)
    instance.gate = Gate(account, Meter(account), settings.admin_password)
    duck = instance.duck_conn
    macros.create(duck)
    duck.execute(upstream_macros.creation_sql("memory"))  # for sessions without a database
    duck.execute(f"set memory_limit = '{settings.memory_limit}'")
    # The stock 16 MB would fold the log away in the middle of loads and builds; here that is done at rest.
    duck.execute("set checkpoint_threshold = '256MB'")
    duck.execute(f"set temp_directory = '{settings.data / 'spill'}'")
    for file in sorted(settings.data.glob("*.db")):
        name = unquote(file.stem)
        duck.execute(f"attach database {literal(str(file))} as {identifier(name)}")
        duck.execute(info_schema.per_db_creation_sql(name))
        duck.execute(upstream_macros.creation_sql(name))
        columntypes.load(duck, name)
        log.info("attached database %s", name)
    adopt(instance)
    return instance


def adopt(instance: Instance) -> None:
    """Let the account know what the databases hold."""
    kinds: dict[Key, str] = {}
    ours = "not internal and database_name not in ('_fs_global', 'memory')"
    for kind, columns, source in (
        ("DATABASE", "database_name", "duckdb_databases()"),
        ("SCHEMA", "database_name, schema_name", "duckdb_schemas()"),
        ("TABLE", "database_name, schema_name, table_name", "duckdb_tables()"),
        ("VIEW", "database_name, schema_name, view_name", "duckdb_views()"),
    ):
        sql = f"select {columns} from {source} where {ours}"
        for names in instance.duck_conn.execute(sql).fetchall():
            if len(names) == 1 or names[1] not in ("main", "_fs_information_schema"):
                kinds[("TABLE" if kind == "VIEW" else kind, *names)] = kind
    instance.gate.account.adopt(set(kinds), kinds)


def fold_logs(instance: Instance, force: bool = False) -> None:
    """Fold write-ahead logs into their databases; what cannot be folded stays in the log.

    With ``force``, open transactions are rolled back; without, a log that they need is left for another time.
    """
    with instance.duck_conn.cursor() as cursor:
        databases = cursor.execute(
            "select database_name, path from duckdb_databases() where not internal and path is not null"
        ).fetchall()
        for name, path in databases:
            if Path(path + ".wal").exists():
                with contextlib.suppress(duckdb.Error):
                    cursor.execute(f"{'force ' if force else ''}checkpoint {identifier(name)}")
                    log.debug("checkpointed database %s", name)


def drop_database(instance: Instance, name: str) -> bool:
    """Drop a database with its file, which upstream cannot; returns whether there was one."""
    file = database_file(Path(str(instance.db_path)), name)
    if not file.exists():
        return False
    instance.duck_conn.execute(f"detach {identifier(name)}")
    file.unlink()
    file.with_name(file.name + ".wal").unlink(missing_ok=True)
    log.info("dropped database %s", name)
    return True

"""The command line."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .basics import Json, RefusedError
from .spool import Spool

CONFIG = "/etc/retailflow/backup.json"


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    made = argparse.ArgumentParser(
        prog="retailflow-backup", description="Backups of PostgreSQL in an S3 bucket"
    )
    made.add_argument("--config", default=CONFIG)
    commands = made.add_subparsers(dest="command", required=True)
    commands.add_parser("ship", help="store what the spool holds, until ended")
    one = commands.add_parser("base", help="store a copy of the whole cluster")
    one.add_argument("--alert", action="store_true", help="tell the address for alerts if it fails")
    one = commands.add_parser("first", help="the same, where none of this cluster is stored")
    one.add_argument("--new-server", action="store_true", help="beside the backups of another one")
    commands.add_parser("status", help="how storing goes")
    commands.add_parser("list", help="what is stored")
    one = commands.add_parser("mark", help="note what a table holds and wait until that is stored")
    for name in ("--database", "--table", "--query"):
        one.add_argument(name, required=True)
    for name in ("plan", "fetch"):
        one = commands.add_parser(
            name, help="the way to a moment" if name == "plan" else "walk it, the key on stdin"
        )
        one.add_argument("--at", required=True)
        one.add_argument("--cluster", default="")
        if name == "fetch":
            one.add_argument("--into", required=True, type=Path)
            one.add_argument("--position", default="")
    return made


def answer(given: argparse.Namespace, config: Json) -> Any:
    """What a command that asks the store finds or did."""
    # boto3 is half of the time that the program takes to start, and `status` does without.
    from .alerts import tell
    from .base import Base
    from .log import Log
    from .store import REFUSALS
    from .way_back import WayBack

    try:
        match given.command:
            case "ship":
                return Log(config).ship_for_ever()
            case "base":
                return Base(config).make()
            case "first":
                return Base(config).make_first(given.new_server)
            case "list":
                return WayBack(config).list()
            case "mark":
                return Log(config).mark(given.database, given.table, given.query)
        way = WayBack(config)
        plan = way.plan(given.at, given.cluster)
        if given.command == "plan":
            return plan | {"segments": len(plan["segments"])}
        return way.fetch(plan, given.into, sys.stdin.read(), given.position)
    except (RefusedError, *REFUSALS) as error:
        if given.command == "base" and given.alert:
            tell(config, "backup_failed", f"The base backup of PostgreSQL failed: {error}")
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(f"the store s3://{config['bucket']} refused: {error}") from error


def main() -> None:
    """Do what the command line says; print the answer as JSON."""
    given = parser().parse_args()
    try:
        config = json.loads(Path(given.config).read_text())
        spool = Spool(config)
        spool.notes.mkdir(parents=True, exist_ok=True)
        print(json.dumps(spool.status() if given.command == "status" else answer(given, config)))
    except RefusedError as error:
        sys.exit(f"error: {error}")

"""The generator for people: ``python -m retailflow_generator --help``."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .batch import DatabaseUnavailableError, generate, history
from .config import DEFAULT_ROWS, InvalidConfigurationError, Settings
from .parameter import PasswordUnavailableError
from .request import BatchRequest, InvalidRequestError, parse_event
from .rows import COLUMNS, draw, records
from .shop import default_shop

_EPILOG = """\
Without --dry-run the rows go to PostgreSQL: DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD say where. In the place of the
last, DB_PASSWORD_PARAMETER names a parameter of AWS's Systems Manager, which is asked for at AWS_ENDPOINT_URL_SSM.
DB_AUTHORITY, the certificate of an authority in PEM, encrypts the session and refuses every server that it has not signed.
A batch id is written once: the same command again, with the same --batch-id, writes nothing.

exit codes: 0 done, 1 PostgreSQL or its password is unavailable, 2 wrong arguments or environment"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="retailflow_generator",
        description="Generate the sales of a believable shop.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    options.add_argument(
        "--rows",
        type=int,
        help=f"order lines in all (default {DEFAULT_ROWS}; of a history, as many as a schedule brings)",
    )
    options.add_argument("--as-of", metavar="TIME", help="day or time of the (last) booking, ISO 8601 (now)")
    options.add_argument("--seed", type=int, help="equal seeds and times give equal rows (from the batch id)")
    options.add_argument("--batch-id", metavar="ID", help="name under which it is written once (a new one)")
    options.add_argument("--dry-run", action="store_true", help="write the rows to stdout, not to PostgreSQL")
    options.add_argument(
        "--output",
        choices=("json", "csv"),
        help="json: the result, or one row per line in a dry run (default); csv: rows, in a dry run",
    )
    for action in options._actions:
        parser._add_action(action)
    commands = parser.add_subparsers(dest="command", metavar="[backfill]")
    backfill = commands.add_parser(
        "backfill",
        parents=[options],
        help="write a history: rows spread over days, with seasons; goes on where it stopped",
        description="Write a history, one batch per day. The same batch id goes on where it stopped.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    backfill.add_argument("--days", type=int, required=True, help="days, the last being that of --as-of")
    return parser


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal, where rich is installed; it is not in the function's zip."""
    if not sys.stderr.isatty():
        yield lambda rows: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield lambda rows: None
        return
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda rows: bar.advance(task, rows)


def _dry_run(request: BatchRequest, output: str, progress: Callable[[int], object]) -> None:
    """Write the rows to stdout, order ids counted from 1."""
    shop, first = default_shop(), 1
    table = csv.writer(sys.stdout, lineterminator="\n")
    if output == "csv":
        table.writerow(COLUMNS)
    for batch in history(shop, request) if request.days else [request]:
        draws = draw(shop, batch.rows, batch.seed, batch.as_of, batch.age_days)
        for row in records(shop, draws, np.arange(first, first + batch.rows)):
            if output == "csv":
                table.writerow(row)
            else:
                line = dict(zip(COLUMNS, row, strict=True))
                print(json.dumps(line, default=str, ensure_ascii=False))
            progress(1)
        first += batch.rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    dry_run, output = given.get("dry_run", False), given.get("output", "json")
    if output == "csv" and not dry_run:
        parser.error("--output csv needs --dry-run")
    event = {key: given[key] for key in ("rows", "as_of", "seed", "batch_id", "days") if key in given}
    try:
        request = parse_event(event, request_id=f"cli-{uuid.uuid4()}", default_rows=DEFAULT_ROWS)
        shop = default_shop()
        total = sum(day.rows for day in history(shop, request)) if request.days else request.rows
        with _progress(total) as progress:
            if dry_run:
                _dry_run(request, output, progress)
            else:
                result, repeated = generate(Settings.from_env(os.environ), request, progress)
                print(json.dumps(result | {"repeated": repeated}, indent=2))
        sys.stdout.flush()
    except (InvalidRequestError, InvalidConfigurationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (DatabaseUnavailableError, PasswordUnavailableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())

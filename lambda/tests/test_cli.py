"""The command line, as a person runs it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retailflow_generator import __main__ as cli
from retailflow_generator.rows import COLUMNS

Sql = Callable[..., list[tuple[Any, ...]]]
Output = pytest.CaptureFixture[str]


def test_a_dry_run_prints_rows_and_needs_no_database(capsys: Output) -> None:
    command = ["--rows", "20", "--as-of", "2026-11-22", "--seed", "5", "--dry-run", "--output", "csv"]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (len(rows), tuple(rows[0])) == (20, COLUMNS)
    assert [row["order_id"] for row in rows] == [str(n) for n in range(1, 21)]
    assert {row["order_date_at"] for row in rows} == {"2026-11-22"}
    cli.main(command)
    assert capsys.readouterr().out == text, "equal seeds, equal bytes"


def test_rows_are_equal_in_another_process_and_elsewhere(capsys: Output) -> None:
    options = [
        "--rows",
        "300",
        "--as-of",
        "2026-11-22T12:03:00Z",
        "--seed",
        "5",
        "--dry-run",
        "--output",
        "csv",
    ]
    assert cli.main(options) == 0
    here = capsys.readouterr().out
    elsewhere = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-m", "retailflow_generator", *options]
    source = Path(cli.__file__).parents[1]
    there = subprocess.run(command, cwd=source, env=elsewhere, stdout=subprocess.PIPE, check=True, text=True)
    assert there.stdout == here


def test_a_dry_run_of_a_history_is_one_object_per_line(capsys: Output) -> None:
    options = ["--days", "5", "--rows", "300", "--as-of", "2026-11-22", "--seed", "5", "--dry-run"]
    assert cli.main(["backfill", *options]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["order_id"] for row in rows] == list(range(1, 301))
    assert sorted({row["order_date_at"] for row in rows}) == [f"2026-11-{day}" for day in range(18, 23)]


def test_rows_go_to_the_database_once(database: Sql, capsys: Output) -> None:
    results = []
    for _ in range(2):
        assert cli.main(["backfill", "--days", "3", "--rows", "90", "--batch-id", "b"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert [result["repeated"] for result in results] == [False, True]
    assert results[0]["rows"] == 90
    assert database("select count(*) from sales") == [(90,)]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["--rows", "-1", "--dry-run"], "rows must be a whole number from 1"),
        (["--rows", "many"], "invalid int value: 'many'"),
        (["--as-of", "yesterday", "--dry-run"], "as_of must be an ISO 8601"),
        (["--output", "csv"], "--output csv needs --dry-run"),
        (["--output", "xml"], "invalid choice: 'xml'"),
        (["backfill", "--rows", "5"], "the following arguments are required: --days"),
        (["backfill", "--days", "0"], "days must be a whole number from 1"),
        (["forward"], "invalid choice: 'forward'"),
        ([], "DB_HOST is not set"),
    ],
)
def test_wrong_use_is_named_with_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, command: list[str], words: str
) -> None:
    monkeypatch.delenv("DB_HOST", raising=False)
    try:
        code: object = cli.main(command)
    except SystemExit as left:  # argparse's own way
        code = left.code
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert words in captured.err


def test_a_database_that_is_down_has_code_1(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    for name, value in {
        "HOST": "127.0.0.1",
        "PORT": "9",
        "NAME": "n",
        "USER": "u",
        "PASSWORD": "hush",
    }.items():
        monkeypatch.setenv(f"DB_{name}", value)
    assert cli.main(["--rows", "5"]) == 1
    assert "127.0.0.1:9/n as u" in capsys.readouterr().err


def test_on_a_terminal_a_bar_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(["--rows", "7", "--dry-run"]) == 0
    assert "7/7" in capsys.readouterr().err
    assert cli.main(["backfill", "--days", "1", "--as-of", "2026-11-25T01:00:00Z", "--dry-run"]) == 0
    (rows,) = set(re.findall(r"(?<!\d)(\d+)/\1(?!\d)", capsys.readouterr().err))
    assert int(rows) >= 20, "an hour of the schedule"


def test_a_reader_that_stops_early_is_no_error() -> None:
    source = Path(cli.__file__).parents[1]
    command = [sys.executable, "-m", "retailflow_generator", "--rows", "20000", "--dry-run"]
    with subprocess.Popen(
        command, cwd=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline().startswith('{"order_id": 1')
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_help_says_what_the_codes_mean(capsys: Output) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    assert (
        "exit codes: 0 done, 1 PostgreSQL or its password is unavailable, 2 wrong arguments"
        in capsys.readouterr().out
    )

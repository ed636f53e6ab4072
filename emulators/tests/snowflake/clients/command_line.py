"""Snowflake's command line: its own program, in one process because each start costs seconds."""

import json
import pathlib

from attempts import FOLDER, LOGIN, attempt, report
from click.testing import CliRunner
from snowflake.cli._app.__main__ import CliAppFactory
from typer.main import get_command

config = pathlib.Path(FOLDER, "config.toml")
known = {name: value for name, value in LOGIN.items() if isinstance(value, (str, int))}
lines = [f"{name} = {json.dumps(value)}" for name, value in known.items()]
config.write_text("\n".join(['default_connection_name = "local"', "[connections.local]", *lines]))
config.chmod(0o600)
program = get_command(CliAppFactory().create_or_get_app())


def snow(*arguments):
    done = CliRunner().invoke(program, ["--config-file", str(config), *arguments, "--format", "json"])
    if done.exit_code:
        raise RuntimeError(" ".join(done.output.replace("│", " ").split()))  # a box of many lines
    return json.loads(done.output[done.output.index("[" if "[" in done.output else "{") :])


@attempt("connection test")
def _():
    done = CliRunner().invoke(
        program, ["--config-file", str(config), "connection", "test", "--format", "json"]
    )
    assert json.loads(done.output)["Status"] == "OK", done.output


@attempt("sql")
def _():
    assert snow("sql", "-q", "select 1 as A, 'x' as B") == [{"A": 1, "B": "x"}]
    snow("sql", "-q", "create or replace table LINES (ID number)")


@attempt("object list, describe")
def _():
    assert "LINES" in [row["name"] for row in snow("object", "list", "table")]
    assert snow("object", "describe", "table", "LINES")[0]["type"] == "NUMBER(38,0)"
    assert snow("object", "list", "warehouse") is not None


@attempt("stage create, copy there and back, list-files, remove, drop")
def _():
    path = pathlib.Path(FOLDER, "line.csv")
    path.write_text("1\n")
    snow("stage", "create", "LINED")
    snow("stage", "copy", str(path), "@LINED", "--overwrite")
    assert [row["name"] for row in snow("stage", "list-files", "@LINED")] == ["lined/line.csv"]
    path.unlink()
    snow("stage", "copy", "@LINED", FOLDER)
    assert path.read_text() == "1\n"
    snow("stage", "remove", "@LINED", "line.csv")
    snow("stage", "drop", "LINED")


@attempt("sql: explain")
def _():
    snow("sql", "-q", "explain select 1")


report()

"""The runner of the benchmarks: what a figure says, and that subjects are found. Nothing is timed here."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as runner
from bench import others, subjects
from bench.measurement import Measurement
from bench.subjects import airbyte, generator

FIGURE = Measurement("subject.rate", 5000.0, "rows/s", 0.5, beside=20_000.0, peak_mb=81.2)


def test_a_figure_for_machines() -> None:
    assert FIGURE.as_json() == {
        "value": 5000.0,
        "unit": "rows/s",
        "beside": 20_000.0,
        "ratio": 0.25,
        "target": 0.5,
        "peak_mb": 81.2,
    }
    alone = Measurement("subject.seconds", 3.0, "s")
    assert alone.as_json() == {"value": 3.0, "unit": "s", "beside": None, "ratio": None, "target": None}


def test_a_figure_for_people() -> None:
    assert FIGURE.as_text().split("; ") == [
        "subject.rate                     5,000 rows/s",
        "0.25 times 20,000 rows/s",
        "peak 81 MB",
        "target at least 0.5: MISSED",
    ]


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Measurement("a", 2.0, "s", 1.0, at_most=True), False),
        (Measurement("a", 1.0, "s", 1.0, at_most=True), True),
        (Measurement("a", 9.0, "s", 1.0), True),
        (Measurement("a", 9.0, "s", 1.0, beside=10.0), False),
        (Measurement("a", 9.0, "s"), None),
    ],
)
def test_a_target_bounds_the_ratio_where_there_is_one(figure: Measurement, met: bool | None) -> None:
    assert figure.meets_target is met


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the measuring of the generator; collects the sizes asked for."""
    sizes: list[int] = []

    def measure(rows: int) -> Iterator[Measurement]:
        sizes.append(rows)
        yield FIGURE

    monkeypatch.setattr(generator, "measure", measure)
    return sizes


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    return runner.main()


def test_a_subject_is_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], measured: list[int]
) -> None:
    monkeypatch.delenv("FORMAT", raising=False)
    assert run(monkeypatch, "generator", "--rows", "7") == 0, "a missed target is no failure"
    assert measured == [7]
    assert capsys.readouterr().out == FIGURE.as_text() + "\n"
    monkeypatch.setenv("FORMAT", "json")
    run(monkeypatch, "generator")
    assert json.loads(capsys.readouterr().out) == {"subject.rate": FIGURE.as_json()}


def test_what_moves_the_site_runs_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def measuring(name: str) -> Callable[[int], list[Measurement]]:
        def measure(_: int) -> list[Measurement]:
            ran.append(name)
            return []

        return measure

    for one in pkgutil.iter_modules(subjects.__path__):
        module = importlib.import_module(f"bench.subjects.{one.name}")
        monkeypatch.setattr(module, "measure", measuring(one.name))
    run(monkeypatch)
    assert "backends" not in ran and {"dbt", "generator"} < set(ran)
    ran.clear()
    run(monkeypatch, "backends")
    assert ran == ["backends"]


@pytest.mark.parametrize("arguments", [["nothing"], ["generator", "--rows", "0"], ["--format", "xml"]])
def test_wrong_use_has_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, measured: list[int], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, *arguments)
    assert not measured and "error: " in capsys.readouterr().err


@pytest.mark.parametrize("tool", [others.meltano_tap, others.dlt_extract])
def test_a_tool_that_cannot_be_installed_is_absent_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tool: Any
) -> None:
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\n[ "$1" = venv ] || { echo "no such package" >&2; exit 1; }\n', encoding="utf-8")
    uv.chmod(0o755)
    monkeypatch.setattr(others, "_uv", lambda: str(uv))
    rate, note = airbyte._measured(lambda: tool("postgresql://me@127.0.0.1:1/shop", "public", "sales", 7))
    assert (rate, note) == (None, "absent: uv pip: no such package")
    figure = Measurement("airbyte.vs_other", 5.0, "rows/s", beside=rate, note=note)
    assert figure.as_text().endswith("5 rows/s  (absent: uv pip: no such package)")

"""Where the dbt project lies, and how to run dbt without waiting for ever."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject
from dagster_dbt.core import dbt_cli_invocation
from packaging.version import Version

from . import warm

#: The repository's and the image's layout alike: dagster/ beside dbt/.
PROJECT_DIR = Path(os.environ.get("DBT_PROJECT_DIR") or Path(__file__).resolve().parents[4] / "dbt")
TARGET_DIR = PROJECT_DIR / os.environ.get("DBT_TARGET_PATH", "target")

#: Between the polite signal and the kill: dbt uses it to cancel its queries, which a hanging warehouse will
#: not answer.
GRACE_SECONDS = 10.0

# Of subprocess it uses Popen, PIPE and STDOUT (`DbtCliInvocation.run`).
dbt_cli_invocation.subprocess = warm.Subprocess  # type: ignore[assignment, attr-defined]


class Dbt(DbtCliResource):
    """DbtCliResource that leaves out what costs seconds before every command and is not used here.

    The parent starts ``dbt --version``, which also asks PyPI for news, and loads dbt's adapter into this
    process, to fetch row counts and column metadata of the warehouse.
    """

    @property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:
        return None


def dbt_project() -> DbtProject:
    """The project with the manifest that was built beforehand; raises with what to do where there is none."""
    if not (TARGET_DIR / "manifest.json").is_file():
        raise FileNotFoundError(
            f"No manifest in {TARGET_DIR}. The image has it; elsewhere run `dbt parse` in {PROJECT_DIR} first"
            " (SNOWFLAKE_ACCOUNT may be any word)."
        )
    return DbtProject(project_dir=PROJECT_DIR, target_path=TARGET_DIR)


def dbt_resource() -> Dbt:
    """The dbt of this Python environment, on the project and profiles of this repository."""
    return Dbt(
        project_dir=os.fspath(PROJECT_DIR),
        profiles_dir=os.fspath(PROJECT_DIR),
        dbt_executable=os.fspath(Path(sys.executable).with_name("dbt")),
    )


@contextmanager
def deadline(
    process: subprocess.Popen[bytes], seconds: float, what: str, again: bool = True
) -> Iterator[None]:
    """Ends `process` when the block has not ended after `seconds`, and then raises Failure instead of what
    the block raised; `again` says whether that may be retried. Interrupts first, kills after GRACE_SECONDS.
    """
    over = threading.Event()

    def end() -> None:
        over.set()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if over.is_set():
            raise dg.Failure(
                f"{what} had not finished after {seconds:.0f} s and was stopped: the warehouse hangs,"
                " or answers with errors that are retried. Look at its health; the next run repairs what is"
                " missing. (DBT_TIMEOUT_SECONDS is the limit.)",
                allow_retries=again,
            ) from error
        raise
    finally:
        timer.cancel()


def failed_nodes(target: Path) -> tuple[list[str], bool]:
    """What failed in the last build under `target`, one line each, and whether only tests on the data did.

    Empty when dbt did not get as far as running nodes.
    """
    path = target / "run_results.json"
    if not path.is_file():
        return [], False
    results = json.loads(path.read_text())["results"]
    failed = [r for r in results if r["status"] in ("error", "fail", "runtime error")]
    lines = [f"{r['unique_id']}: {r['status']}: {' '.join(str(r['message']).split())[:500]}" for r in failed]
    return lines, all(r["status"] == "fail" for r in failed)

"""Clients that this project was not built with, unchanged, each with a connector of its own.

Their environments lie below .cache and are made at the first run. The scripts in ``clients`` run there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import snowflake_operations as operations

from retailflow_emulators.snowflake.testing import EmulatedSnowflake, authority

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache" / "clients"


def python(name: str) -> Path:
    """The Python of an environment; one that was left half-made, or with other versions, is made again."""
    folder, packages = CACHE / f"snowflake-{name}", list(operations.ENVIRONMENTS[name])
    done, program = folder / "made", folder / "venv/bin/python"
    if not done.exists() or done.read_text() != "\n".join(packages):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        uv = str(Path(sys.executable).with_name("uv"))
        environment = os.environ | {"UV_CACHE_DIR": str(CACHE / "uv")}
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, "venv"],
            [uv, "pip", "install", "--quiet", "--python", str(program), *packages],
        ):
            subprocess.run(command, cwd=folder, env=environment, check=True, timeout=600)
        done.write_text("\n".join(packages))
    return program


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", operations.OPERATIONS, ids=lambda client: client[0])
def test_a_client_does_what_the_table_says(
    warehouse: EmulatedSnowflake, client: tuple[str, str, str], tmp_path: Path
) -> None:
    script = client[2]
    login = warehouse.login
    if operations.environment(script) == "connector-5":  # which has another way to name an authority
        del login["disable_ocsp_checks"]
        login["custom_root_store_path"] = str(authority())
    done = subprocess.run(
        [
            str(python(operations.environment(script))),
            str(HERE / "clients" / f"{script}.py"),
            json.dumps(login),
            str(tmp_path),
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "REQUESTS_CA_BUNDLE": str(authority())},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    _, found, verdicts = done.stdout.rpartition("VERDICTS ")
    assert found, f"{done.stdout}\n{done.stderr}"
    assert json.loads(verdicts) == operations.OPERATIONS[client]


def test_the_table_of_operations_in_the_readme_is_fresh() -> None:
    text = operations.README.read_text()
    assert text == operations.written(text)
    assert operations.table() in text
    pinned = {name for packages in operations.ENVIRONMENTS.values() for name in packages}
    for name, version, _ in operations.OPERATIONS:
        assert any(one.startswith(name) and one.endswith(f"=={version}") for one in pinned), name

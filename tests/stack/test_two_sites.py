"""A second site beside the one that is tested: both green, and its removal leaves the first one untouched.

Takes as long as a first `make up`, so it belongs to the drills of tools/test.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

import sites

from .conftest import NAME, ROOT, SECRETS, STATE, why
from .site import docker, say

SECOND = "second"
LABEL = "label=retailflow.site"


def make(*arguments: str, site: str = SECOND, timeout: int = 3600) -> subprocess.CompletedProcess[str]:
    """Run make for the second site, or with an empty name for the tested one."""
    environment = os.environ | ({"SITE": site} if site else {})
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    say(f"SITE={site} make {' '.join(arguments)}: exit code {done.returncode}")
    return done


def untouched() -> dict[str, str]:
    """What the tested site has on this machine: containers with their starts, volumes, networks, images and files."""
    mine = f"{LABEL}={NAME}"
    ids = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", mine).split()
    # The emulated Lambda has a container for each invocation.
    services = docker("inspect", "--format", "{{.Name}} {{.Id}} {{.State.StartedAt}}", *ids).splitlines()
    files = [f"{path} {path.stat().st_mtime_ns}" for path in sorted(SECRETS.rglob("*")) if path.is_file()]
    return {
        "containers": "\n".join(sorted(one for one in services if one.startswith(f"/{NAME}-"))),
        "volumes": docker("volume", "ls", "--quiet", "--filter", f"name=^{NAME}-"),
        "networks": docker("network", "ls", "--quiet", "--no-trunc", "--filter", mine),
        "images": docker(
            "image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", f"{NAME}/*"
        ),
        "filler": docker("image", "ls", "--no-trunc", "--quiet", "busybox:latest"),
        "outputs": (STATE / "outputs.json").read_text(),
        "secrets": "\n".join(files),
    }


@pytest.fixture(scope="module")
def second() -> Iterator[str]:
    """The name of a second site, which is up."""
    done = make("up", "HISTORY=1")
    try:
        assert done.returncode == 0, why(done)
        yield sites.checked(SECOND, sites.inventory("local")["retailflow_name"])
    finally:
        if (ROOT / f".state/local-{SECOND}").exists():
            assert make("down").returncode == 0


def test_both_are_green_and_the_end_of_one_leaves_the_other_untouched(second: str) -> None:
    before = untouched()
    assert all(before.values())
    for site in (SECOND, ""):
        said = make("status", "FORMAT=json", site=site, timeout=120)
        assert said.returncode == 0 and json.loads(said.stdout)["well"], said.stdout + said.stderr
    again = make("up", "HISTORY=1")
    assert again.returncode == 0, why(again)
    recap = [line for line in again.stdout.splitlines() if " : ok=" in line]
    assert recap and all("changed=0" in line for line in recap), again.stdout[-6000:]
    assert untouched() == before, "runs of the second site leave the first as it is"

    assert make("down").returncode == 0
    assert untouched() == before
    for kind in ("ps --all", "network ls", "volume ls"):
        assert docker(*kind.split(), "--quiet", "--filter", f"{LABEL}={second}") == ""
    assert docker("image", "ls", "--quiet", f"{second}/*") == ""
    assert docker("volume", "ls", "--quiet", "--filter", f"name=^{second}-") == ""
    said = make("status", "FORMAT=json", site="", timeout=120)
    assert said.returncode == 0, said.stdout + said.stderr
    gone = make("status", timeout=60)
    assert gone.returncode != 0 and f"no site {SECOND} of the target local was made here" in gone.stderr

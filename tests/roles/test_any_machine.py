"""tools/machine on machines of several kinds, and the first line where a machine cannot be the control node."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import clone as clones

ROOT = Path(__file__).parents[2]
# What the functions call of a system; a test adds what its machine has.
SYSTEM = ("bash", "sh", "cat", "cp", "cut", "dirname", "env", "grep", "head", "mkdir", "sed", "sha256sum")
SYSTEM += ("touch",)
# A Python that says its version and makes environments: `python -m venv FOLDER` writes down who made it.
PYTHON = """
case "$*" in
  *version_info*) exit {unsuitable} ;;
  *ensurepip*) exit {without_ensurepip} ;;
  -V) echo 'Python {version}' ;;
  '-m pip '*) exit 1 ;;
  '-m venv '*) mkdir -p "$3/bin"; echo {name} > "$3/made-by"; cp "$0" "$3/bin/python" ;;
esac
"""

Machine = Callable[..., subprocess.CompletedProcess[str]]


def python(folder: Path, name: str, version: str, without_ensurepip: bool = False) -> None:
    minor = int(version.split(".")[1])
    text = PYTHON.format(
        name=name,
        version=version,
        unsuitable=int(not 11 <= minor < 15),
        without_ensurepip=int(without_ensurepip),
    )
    clones.program(folder / name, text)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Run functions of tools/machine on a machine that has the programs of `tmp_path/bin`; nobody is root."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in SYSTEM:
        (tools / name).symlink_to(f"/usr/bin/{name}")
    for folder in ("state", "cache", "clone"):
        (tmp_path / folder).mkdir()
    clones.program(tools / "id", '[ "$1" = -u ] && echo 1000 || echo ada')
    clones.program(tools / "uname", "echo Linux")

    def run(commands: str, **environment: str) -> subprocess.CompletedProcess[str]:
        script = f"source {ROOT}/tools/machine\nroot={tmp_path}/clone state={tmp_path}/state cache={tmp_path}/cache\n"
        return subprocess.run(
            [tools / "bash", "-c", script + commands],
            env={"PATH": str(tools), "RETAILFLOW_ENVIRONMENT": str(ROOT.resolve()), **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def made_by(tmp_path: Path) -> str:
    return (tmp_path / "clone/.venv/made-by").read_text().strip()


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"python3": "3.11.2"}, "python3"),
        ({"python3": "3.14.0"}, "python3"),
        ({"python3": "3.10.12", "python3.12": "3.12.3"}, "python3.12"),
        ({"python3": "3.15.0", "python3.13": "3.13.5", "python3.11": "3.11.9"}, "python3.13"),
        ({"python3.11": "3.11.9"}, "python3.11"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value.values()),
)
def test_the_first_python_that_the_pins_are_for_is_taken(
    machine: Machine, tmp_path: Path, there: dict[str, str], chosen: str
) -> None:
    for name, version in there.items():
        python(tmp_path / "bin", name, version)
    done = machine("make_venv")
    assert done.returncode == 0, done.stderr
    assert made_by(tmp_path) == chosen


@pytest.mark.parametrize("there", [{}, {"python3": "3.9.6"}], ids=["none", "too old"])
def test_uv_brings_the_pinned_python_where_none_fits(
    machine: Machine, tmp_path: Path, there: dict[str, str]
) -> None:
    for name, version in there.items():
        python(tmp_path / "bin", name, version)
    clones.program(tmp_path / "bin/uv", f'echo "$UV_PYTHON_INSTALL_DIR $*" > {tmp_path}/uv')
    done = machine("make_venv")
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "uv").read_text()
    assert asked.startswith(f"{tmp_path}/cache/python venv "), (
        "a Python that is brought stays inside the clone"
    )
    assert "--managed-python --python 3.13 " in asked and asked.endswith(f"{tmp_path}/clone/.venv\n")


def test_an_old_python_gets_uv_which_brings_one(machine: Machine, tmp_path: Path) -> None:
    python(tmp_path / "bin", "python3", "3.9.6")
    uv = clones.program(tmp_path / "uv", f"touch {tmp_path}/brought")
    text = (tmp_path / "bin/python3").read_text()
    install = f"""'-m pip install '*) cp {uv} "${{0%/*}}/uv" ;;"""
    clones.program(tmp_path / "bin/python3", text.replace("  '-m pip '*)", f"  {install}\n  '-m pip '*)"))
    done = machine("make_venv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "brought").exists()


@pytest.mark.parametrize("there", [{}, {"python3": "3.9.6"}], ids=["none", "too old"])
def test_without_python_and_uv_one_sentence_says_what_to_do(
    machine: Machine, tmp_path: Path, there: dict[str, str]
) -> None:
    for name, version in there.items():
        python(tmp_path / "bin", name, version)
    done = machine("make_venv")
    assert done.returncode == 1
    assert "error: Python 3.11 to 3.14 is needed" in done.stderr and "run make again" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_python_without_ensurepip_gets_it_from_its_package_or_uv(machine: Machine, tmp_path: Path) -> None:
    python(tmp_path / "bin", "python3", "3.13.5", without_ensurepip=True)
    clones.program(tmp_path / "bin/apt-get", "exit 1")
    done = machine("make_venv")
    assert done.returncode == 1 and "run `apt-get install python3-venv` as root" in done.stderr
    clones.program(tmp_path / "bin/uv", f'echo "$*" > {tmp_path}/uv')
    assert machine("make_venv").returncode == 0
    assert f"--python {tmp_path}/bin/python3 " in (tmp_path / "uv").read_text()


@pytest.mark.parametrize(
    ("made", "stale"),
    [("version = 3.{minor}.1", False), ("version_info = 3.{minor}.1", False), ("version = 3.10.1", True)],
)
def test_an_environment_of_another_python_is_made_again(
    machine: Machine, tmp_path: Path, made: str, stale: bool
) -> None:
    version = subprocess.run([clones.PYTHON, "-V"], capture_output=True, text=True, check=True).stdout
    minor = version.split(".")[1]
    venv = tmp_path / "clone/.venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(Path(clones.PYTHON).resolve())
    (venv / "pyvenv.cfg").write_text(
        f"home = {Path(clones.PYTHON).resolve().parent}\n{made.format(minor=minor)}\n"
    )
    assert (machine("venv_is_stale").returncode == 0) == stale
    (venv / "bin/python").unlink()
    (venv / "bin/python").symlink_to(tmp_path / "gone")
    assert machine("venv_is_stale").returncode == 0, "its Python is gone"


def test_ssh_is_asked_for_before_anything_is_built(machine: Machine, tmp_path: Path) -> None:
    clones.program(tmp_path / "bin/apt-get", "exit 1")
    done = machine("programs")
    assert done.returncode == 1 and "openssh-client is missing" in done.stderr
    clones.program(tmp_path / "bin/ssh", "true")
    assert machine("programs").returncode == 0
    bootstrap = re.search(r"^MACHINE := (\w+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert bootstrap and bootstrap[1] == "programs"


def docker(tmp_path: Path, text: str) -> None:
    """An engine, and an environment that knows the name of the site."""
    (tmp_path / "clone/.venv/bin").mkdir(parents=True)
    clones.program(tmp_path / "clone/.venv/bin/python", "echo retailflow")
    clones.program(tmp_path / "bin/docker", f'echo "$*" >> {tmp_path}/docker\n{text}')


def test_who_cannot_be_root_pulls_the_base_image(machine: Machine, tmp_path: Path) -> None:
    clones.program(tmp_path / "bin/apt-get", f"touch {tmp_path}/apt; exit 1")
    docker(tmp_path, "case $1 in image) exit 1 ;; create) echo made ;; esac")
    done = machine("rootfs")
    assert done.returncode == 0, done.stderr
    assert "pull --quiet debian:bookworm-slim" in (tmp_path / "docker").read_text()
    assert not (tmp_path / "apt").exists(), "nothing is installed that takes a password"
    (tmp_path / "state/pulled").read_text()
    for name in ("sort", "xargs", "rm", "pgrep"):
        (tmp_path / "bin" / name).symlink_to(f"/usr/bin/{name}")
    machine("engine_is_ours() { false; }; down")
    assert (tmp_path / "docker").read_text().splitlines()[-1] == "image rm debian:bookworm-slim"


# An engine that has the images of the file `images`: name, id, our label, the base that it was made of.
ENGINE = """
case "$1 $2" in
  'image inspect')
    [ "$3" = --format ] || exec grep -q "^$3 " IMAGES
    line=$(grep "^$5 " IMAGES) || exit 1
    set -- "$4" $line
    case $1 in *site*) echo "$4" ;; *base*) echo "$5" ;; *Id*) echo "$3" ;; esac ;;
  'image ls') grep -F "${5#reference=} " IMAGES | grep -v ' - ' | cut -d ' ' -f 2 ;;
  create*) echo made ;;
  commit*) echo "$5 sha256:new retailflow ${3##*=}" >> IMAGES ;;
esac
"""


@pytest.mark.parametrize("base", ["debian:bookworm-slim", "mine/debian:12"])
def test_a_base_image_of_somebody_stays_theirs(machine: Machine, tmp_path: Path, base: str) -> None:
    """make down removes our images with their containers: by another name of theirs it would be theirs."""
    images = tmp_path / "images"
    images.write_text(f"{base} sha256:theirs - -\nretailflow/rootfs:latest sha256:theirs - -\n")
    docker(tmp_path, ENGINE.replace("IMAGES", str(images)))
    given = {} if base.startswith("debian") else {"BASE_IMAGE": base}
    done = machine("rootfs", **given)
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "docker").read_text()
    assert f"create {base} true" in asked
    label = "LABEL retailflow.site=retailflow retailflow.base=sha256:theirs"
    assert f"commit --change {label} made retailflow/rootfs:latest" in asked
    assert "\ntag " not in asked and "pull" not in asked
    assert not (tmp_path / "state/pulled").exists()
    images.write_text(
        "\n".join(one for one in images.read_text().splitlines() if "rootfs:latest sha256:theirs" not in one)
    )
    assert machine("rootfs", **given).returncode == 0
    assert (tmp_path / "docker").read_text().count("commit") == 1, (
        "made again, all images would be built again"
    )


def test_a_person_who_cannot_be_root_takes_down_what_they_made(machine: Machine, tmp_path: Path) -> None:
    for name in ("sort", "xargs", "rm", "pgrep"):
        (tmp_path / "bin" / name).symlink_to(f"/usr/bin/{name}")
    (tmp_path / "state/log").write_text("x")
    done = machine("engine_is_ours() { false; }; down")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "state").exists()


def test_a_base_image_that_cannot_be_built_is_pulled(machine: Machine, tmp_path: Path) -> None:
    clones.program(tmp_path / "bin/apt-get", "exit 1")
    clones.program(tmp_path / "bin/id", "echo 0")
    clones.program(tmp_path / "bin/mmdebstrap", "exit 1")
    docker(tmp_path, "case $1 in image) exit 1 ;; esac")
    done = machine(f"archive_keys={tmp_path}; rootfs")
    assert done.returncode == 0, done.stderr
    assert "pull --quiet debian:bookworm-slim" in (tmp_path / "docker").read_text()


@pytest.mark.parametrize(
    ("says", "environment", "advice"),
    [
        ("permission denied while trying to connect", {}, "join the group docker"),
        (
            "Cannot connect",
            {"DOCKER_HOST": "tcp://192.0.2.7:2376"},
            "that DOCKER_HOST or the chosen context names",
        ),
        ("Cannot connect", {}, "docker.io nftables is missing, and to install it takes root"),
    ],
    ids=["not allowed", "another engine", "none"],
)
def test_an_engine_that_cannot_be_used_is_one_sentence(
    machine: Machine, tmp_path: Path, says: str, environment: dict[str, str], advice: str
) -> None:
    docker(tmp_path, f"echo '{says}' >&2; exit 1")
    clones.program(tmp_path / "bin/apt-get", "exit 1")
    done = machine("remember() { :; }; engine", **environment)
    assert done.returncode == 1 and advice in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_client_is_installed_where_it_is_a_package_of_its_own(machine: Machine, tmp_path: Path) -> None:
    """Debian 12's docker.io holds the client, Debian 13's only recommends it."""
    clones.program(tmp_path / "bin/dockerd", "true")
    done = machine('remember() { :; }; install_packages() { echo "installs $*"; exit 0; }; engine')
    assert "installs docker-cli" in done.stdout


def test_make_of_macos_is_refused_in_the_first_line(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", ".FEATURES=target-specific order-only", "up"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert "is too old" in done.stderr and "./retailflow up" in done.stderr
    assert (ROOT / "Makefile").read_text().index("oneshell") < (ROOT / "Makefile").read_text().index(
        "SHELL :="
    )


@pytest.mark.parametrize(
    ("version", "refused"), [("3 2", True), ("4 3", True), ("4 4", False), ("5 2", False)]
)
def test_bash_of_macos_is_refused_in_the_first_line(tmp_path: Path, version: str, refused: bool) -> None:
    major, minor = version.split()
    fake = f'exec /usr/bin/bash -c "$(printf %s "$2" | sed \'s/BASH_VERSINFO\\[0\\]/{major}/; s/BASH_VERSINFO\\[1\\]/{minor}/\')"'
    clones.program(tmp_path / "bash", fake)
    done = subprocess.run(
        [ROOT / "tools/clean-env", "echo", "reached"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout == "") == refused
    assert ("bash 4.4 or newer is needed" in done.stderr and "./retailflow up" in done.stderr) == refused


def test_pins_name_every_python_that_is_taken() -> None:
    """A package that only some Pythons or systems need carries a marker, so no other one misses it."""
    project = (ROOT / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.11"' in project
    pins = (ROOT / "requirements.txt").read_text()
    assert re.search(r"^backports-tarfile==\S+ ; python_full_version < '3\.12'", pins, re.MULTILINE)
    assert "--universal --python-version 3.11" in (ROOT / "Makefile").read_text()


def test_a_control_node_in_a_container_leaves_the_machine_alone(machine: Machine, tmp_path: Path) -> None:
    """It sees neither the processes nor the packages of the machine whose engine it uses."""
    (tmp_path / "mark").touch()
    (tmp_path / "state/dockerd.pid").write_text("1")
    (tmp_path / "bin/rm").symlink_to("/usr/bin/rm")
    done = machine(
        f"container_mark={tmp_path}/mark; engine_is_ours() {{ echo asked; }}; stop_engine() {{ echo stopped; }}; down"
    )
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert (tmp_path / "state/dockerd.pid").exists(), "make down on the machine itself stops that engine"
    dockerfile = (ROOT / "images/control/Dockerfile").read_text()
    mark = re.search(r"^container_mark=(\S+)$", (ROOT / "tools/machine").read_text(), re.MULTILINE)
    assert mark and f"touch {mark[1]}" in dockerfile

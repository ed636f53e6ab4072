"""The role container-service moves a service from Docker to ECS and back: what it asks both for, in which order.

Both are stand-ins that keep what runs in a file and write down what was asked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import small_play

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles/container-service"
MODULES = (
    "docker_container",
    "docker_container_info",
    "docker_host_info",
    "docker_prune",
    "docker_image_remove",
    "docker_volume",
    "ecs_workload",
)
# Docker has containers by name, ECS services by name; a container of ECS has a name and id of its own.
STAND_IN = """#!/usr/bin/python
# WANT_JSON
import json, pathlib, sys
KIND, FOLDER = {kind!r}, pathlib.Path({folder!r})
asked = json.loads(pathlib.Path(sys.argv[1]).read_text())
world = json.loads((FOLDER / "world.json").read_text())
state, name, result = asked.get("state"), asked.get("name"), {{}}
docker, ecs, forgotten = world["docker"], world["ecs"], world["forgotten"]
def inspected(key, image, running):
    return {{"Id": key, "Config": {{"Image": image}}, "State": {{"Running": running}}}}
if KIND == "docker_container_info":
    if name == "id-of-ecs":
        result = {{"exists": True, "container": inspected(name, "image:1", True)}}
    else:
        found = inspected("id-" + name, "image:1", docker[name]) if name in docker else None
        result = {{"exists": bool(found), "container": found}}
elif KIND == "docker_host_info":
    asked_labels = asked["containers_filters"]["label"]
    label = (asked_labels if isinstance(asked_labels, list) else [asked_labels])[-1].split("=")[1]
    rows = [("ended", "exited", 3), ("id-of-ecs", "running", 2), ("older", "running", 1)]
    result = {{"containers": [
        {{"Id": key, "State": how, "Created": when}} for key, how, when in rows if ecs.get(label)
    ] + [
        {{"Id": "forgotten-" + one, "Labels": {{"com.amazonaws.ecs.container-name": one}}}}
        for one in forgotten if label in (one, "shop")
    ]}}
elif KIND == "docker_container" and name.startswith("forgotten-"):
    forgotten.remove(name.removeprefix("forgotten-"))
elif KIND == "docker_container":
    if state == "absent":
        docker.pop(name, None)
    else:
        docker[name] = state != "stopped"
elif KIND == "ecs_workload":
    assert (FOLDER / "key").read_text() == __import__("os").environ.get("AWS_ACCESS_KEY_ID"), "no access"
    if state == "listed":
        result = {{"names": sorted(ecs)}}
    elif state == "present":
        assert not docker.get(name), "two containers on one volume"
        ecs[name] = 1
    elif state == "stopped":
        ecs[name] = 0
    elif state == "absent":
        ecs.pop(name, None)
    if state in ("present", "defined"):
        result = {{"task": {{"definition": "arn:1"}}}}
if KIND == "docker_container" and docker.get(name):
    assert not ecs.get(name) and name not in forgotten, "two containers on one volume"
world["log"].append(" ".join(filter(None, [KIND, state])))
(FOLDER / "world.json").write_text(json.dumps(world))
(FOLDER / "spec.json").write_text(json.dumps(asked)) if KIND == "ecs_workload" and state == "present" else None
print(json.dumps(result | {{"changed": state not in (None, "listed")}}))
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder with the stand-ins."""
    role = tmp_path / "roles/container-service"
    role.mkdir(parents=True)
    for part in ("defaults", "vars", "meta"):
        (role / part).symlink_to(ROLE / part)
    (role / "tasks").mkdir()
    for path in (ROLE / "tasks").iterdir():  # Docker's modules by their short names are those of this role
        text = path.read_text().replace("community.docker.", "")
        (role / "tasks" / path.name).write_text(text)
    (role / "library").mkdir()
    for name in MODULES:
        text = STAND_IN.format(kind=name, folder=str(tmp_path))
        (role / "library" / f"{name}.py").write_text(text)
    (tmp_path / "world.json").write_text(json.dumps({"docker": {}, "ecs": {}, "forgotten": [], "log": []}))
    (tmp_path / "key").write_text("of-the-operator")
    return tmp_path


SERVICE = {
    "container_service_name": "db",
    "container_service_image": "image:1",
    "container_service_memory": "64m",
    "container_service_ecs_cluster": "shop",
    "container_service_ecs_placement": "attribute:role == db",
    "container_service_ecs_client_environment": {"AWS_ACCESS_KEY_ID": "of-the-operator"},
    "container_service_ecs_environment": {"REGION": "here"},
    "container_service_env": {"A": "1"},
    "container_service_health": {"test": ["CMD", "true"], "retries": 3},
    "container_service_ecs_health": {"retries": 10},
}


def asks(log: list[str]) -> list[str]:
    """What changes something or is asked of ECS."""
    return [one for one in log if one not in ("docker_container_info", "docker_prune")]


def test_a_service_moves_to_ecs_and_back_and_is_never_there_twice(host: Path) -> None:
    keep = {
        "ansible.builtin.command": {
            "argv": ["cp", f"{host}/world.json", f"{host}/{{{{ step }}}}.json"],
        }
    }

    def step(name: str, entry: str = "main", **given: Any) -> list[dict[str, Any]]:
        include = {
            "include_role": {"name": "container-service", "tasks_from": entry},
            "vars": SERVICE | given,
        }
        return [include, keep | {"vars": {"step": name}}]

    fact = {
        "ansible.builtin.copy": {
            "content": "{{ container_service_found | to_json }}",
            "dest": f"{host}/container.json",
        }
    }
    small_play.run(
        host,
        [
            *step("docker"),
            *step("to_ecs", container_service_backend="ecs"),
            *step("ecs_again", container_service_backend="ecs"),
            *step("found", "found"),
            fact,
            *step("stopped", "stop"),
            *step("back"),
            *step("docker_again"),
            *step("docker_stopped", "stop"),
            *step("gone", "uninstall"),
        ],
    )
    worlds = {path.stem: json.loads(path.read_text()) for path in host.glob("*.json")}
    seen, before = {}, 0
    for name in (
        "docker",
        "to_ecs",
        "ecs_again",
        "found",
        "stopped",
        "back",
        "docker_again",
        "docker_stopped",
        "gone",
    ):
        whole = worlds[name]["log"]
        seen[name], before = asks(whole[before:]), len(whole)
    assert seen == {
        "docker": ["ecs_workload listed", "docker_host_info", "docker_container healthy"],
        "to_ecs": ["ecs_workload defined", "docker_container absent", "ecs_workload present"],
        "ecs_again": ["ecs_workload present"],
        "found": ["docker_host_info"],
        "stopped": ["ecs_workload stopped", "docker_host_info"],
        "back": ["ecs_workload absent", "docker_host_info", "docker_container healthy"],
        "docker_again": ["docker_container healthy"],
        "docker_stopped": ["docker_container stopped"],
        "gone": ["docker_container absent", "docker_image_remove"],
    }
    assert json.loads((host / "container.json").read_text()) == {
        "id": "id-of-ecs",
        "image": "image:1",
        "running": True,
    }
    spec = worlds["spec"]["spec"]
    assert spec["env"] == {"A": "1", "REGION": "here"} and spec["health"]["retries"] == 10
    assert spec["labels"]["retailflow.service"] == "db"


@pytest.mark.parametrize("entry", ["main", "stop"])
def test_what_an_empty_ecs_has_forgotten_ends_before_docker_starts(host: Path, entry: str) -> None:
    world = {"docker": {}, "ecs": {}, "forgotten": ["db", "other"], "log": []}
    (host / "world.json").write_text(json.dumps(world))
    small_play.run(
        host, [{"include_role": {"name": "container-service", "tasks_from": entry}, "vars": SERVICE}]
    )
    found = json.loads((host / "world.json").read_text())
    assert found["forgotten"] == ["other"]
    assert found["docker"] == ({"db": True} if entry == "main" else {})

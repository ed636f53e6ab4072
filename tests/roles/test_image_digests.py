"""Digests of upstream's images: asked of the registries by the engine, kept in a file, and in the images' names."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import small_play

ROOT = Path(__file__).parents[2]
INVENTORY = ROOT / "inventory/group_vars"
DIGESTS = {"postgres:17": "sha256:" + "1" * 64, "ghcr.example:5000/a/b:v2": "sha256:" + "2" * 64}


class Engine(socketserver.ThreadingUnixStreamServer):
    """Answers as the Docker engine does to a question about an image in a registry."""

    daemon_threads = True
    digests: dict[str, str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Engine

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.partition("/distribution/")[2].removesuffix("/json")
        if self.path.endswith("/version"):
            status, answer = 200, {"ApiVersion": "1.44"}
        elif name in self.server.digests:
            status, answer = 200, {"Descriptor": {"digest": self.server.digests[name]}, "Platforms": []}
        else:
            status, answer = 503, {"message": f"Get https://{name}: no route to host"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    server = Engine(str(tmp_path / "engine"), Handler)
    server.digests = dict(DIGESTS)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def pin(folder: Path, *images: str, check: bool = False) -> dict[str, Any]:
    """Run the role; gives what is new, or the message of the failure."""
    given = {
        "container_images_upstream": list(images),
        "container_images_digests_file": f"{folder}/digests.yml",
    }
    role = {"include_role": {"name": "container-images", "tasks_from": "pin"}, "vars": given}
    keep = {"content": "{{ %s | to_json }}", "dest": f"{folder}/found", "mode": "0600"}
    raised, told = "{'raised': container_images_raised}", "{'msg': ansible_failed_result.msg}"
    tasks = [
        {
            "block": [
                role,
                {"copy": keep | {"content": keep["content"].replace("%s", raised)}, "check_mode": False},
            ],
            "rescue": [{"copy": keep | {"content": keep["content"].replace("%s", told)}}],
        }
    ]
    play = {"environment": {"DOCKER_HOST": f"unix://{folder}/engine"}, "check_mode": check}
    small_play.run(folder, tasks, play=play)
    return dict(json.loads((folder / "found").read_text()))


def kept(folder: Path) -> Any:
    return yaml.safe_load((folder / "digests.yml").read_text())["image_digests"]


def test_digests_are_kept_and_raised_when_a_tag_has_moved(tmp_path: Path, engine: Engine) -> None:
    assert pin(tmp_path, *DIGESTS, check=True)["raised"] and not (tmp_path / "digests.yml").exists()
    assert sorted(pin(tmp_path, *DIGESTS)["raised"]) == sorted(DIGESTS)
    assert kept(tmp_path) == DIGESTS
    assert pin(tmp_path, *DIGESTS)["raised"] == []
    engine.digests["postgres:17"] = "sha256:" + "3" * 64
    assert pin(tmp_path, *DIGESTS)["raised"] == ["postgres:17"]
    assert kept(tmp_path) == {**DIGESTS, "postgres:17": "sha256:" + "3" * 64}


def test_a_registry_that_does_not_answer_changes_nothing(tmp_path: Path, engine: Engine) -> None:
    pin(tmp_path, "postgres:17")
    engine.digests = {"postgres:17": "sha256:" + "4" * 64}
    told = pin(tmp_path, "postgres:17", "metabase/metabase:v0.1")["msg"]
    assert (
        told.startswith("Nothing was written. A registry did not name a digest")
        and "no route to host" in told
    )
    assert kept(tmp_path) == {"postgres:17": DIGESTS["postgres:17"]}


@pytest.mark.parametrize("image", ["postgres", "a.example:5000/postgres", "postgres:17@sha256:" + "1" * 64])
@pytest.mark.usefixtures("engine")
def test_an_image_without_a_tag_of_its_own_is_refused(tmp_path: Path, image: str) -> None:
    assert image in pin(tmp_path, image)["msg"] and not (tmp_path / "digests.yml").exists()


def test_an_image_is_named_by_the_digest_that_was_kept(tmp_path: Path) -> None:
    def images(digests: dict[str, str]) -> list[str]:
        wanted = "[postgres_container_image, metabase_image, retailflow_base_image]"
        write = {
            "copy": {"content": "{{ " + wanted + " | to_json }}", "dest": f"{tmp_path}/found", "mode": "0600"}
        }
        files = [str(INVENTORY / name) for name in ("all/versions.yml", "aws/main.yml")]
        play = {"vars_files": files, "vars": {"retailflow_image_digests": digests}}
        small_play.run(tmp_path, [write], play=play)
        return list(json.loads((tmp_path / "found").read_text()))

    tags = images({})
    assert "debian:bookworm-slim" in tags and not any("@" in one for one in tags)
    assert images(dict.fromkeys(tags, "sha256:5")) == [f"{tag}@sha256:5" for tag in tags]
    assert images({"postgres:1": "sha256:5"}) == tags, "that of another version does not count"

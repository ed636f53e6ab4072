"""Content hashes, contexts and build order of the module container_image."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.container_images import builder, context, registry
from ansible.module_utils.container_images.errors import ImageError
from docker.errors import ImageNotFound


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "app/src").mkdir(parents=True)
    (tmp_path / "app/Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY app/src /src\n")
    (tmp_path / "app/src/main.py").write_text("print(1)\n")
    return tmp_path


def image(**changes: Any) -> Any:
    raw = {"name": "app", "dockerfile": "app/Dockerfile", "paths": ["app/src"], "args": {"A": "1"}}
    return context.Image.from_dict(raw | changes)


def test_hash_ignores_what_does_not_reach_the_image(tree: Path) -> None:
    before = context.content_hash(tree, image(), "base")
    (tree / "app/src/__pycache__").mkdir()
    (tree / "app/src/__pycache__/main.cpython-311.pyc").write_bytes(b"x")
    os.utime(tree / "app/src/main.py", (1, 1))
    (tree / "app/src/main.py").chmod(0o600)
    (tree / "app/other").write_text("not in the paths")
    assert context.content_hash(tree, image(), "base") == before
    assert context.content_hash(tree, image(paths=["app/src", "app/src/main.py"]), "base") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "app/src/main.py").write_text("print(2)\n"),
        lambda tree: (tree / "app/src/main.py").chmod(0o755),
        lambda tree: (tree / "app/src/main.py").rename(tree / "app/src/main2.py"),
        lambda tree: (tree / "app/src/new.py").touch(),
        lambda tree: (tree / "app/src/new.py").symlink_to("main.py"),
        lambda tree: (tree / "app/Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n"),
    ],
)
def test_hash_changes_with_the_content(tree: Path, change: Any) -> None:
    before = context.content_hash(tree, image(), "base")
    change(tree)
    assert context.content_hash(tree, image(), "base") != before


def test_hash_changes_with_base_and_arguments(tree: Path) -> None:
    hashes = {
        context.content_hash(tree, image(), "base"),
        context.content_hash(tree, image(), "other"),
        context.content_hash(tree, image(args={"A": "2"}), "base"),
        context.content_hash(tree, image(args={"A": "1", "B": ""}), "base"),
    }
    assert len(hashes) == 4


def test_context_holds_the_files_at_their_paths_with_normal_modes(tree: Path) -> None:
    (tree / "app/src/skipped.log").touch()
    (tree / "app/src/run").write_text("#!/bin/sh\n")
    (tree / "app/src/run").chmod(0o700)
    target = io.BytesIO()
    context.write_context(tree, image(exclude=["*.log"]), target)
    with tarfile.open(fileobj=target) as tar:
        entries = {member.name: (member.mode, member.mtime, member.uid) for member in tar.getmembers()}
    assert entries == {
        "app/Dockerfile": (0o644, 0, 0),
        "app/src/main.py": (0o644, 0, 0),
        "app/src/run": (0o755, 0, 0),
    }


@pytest.mark.parametrize("paths", [["missing"], ["../outside"], ["/etc/hostname"]])
def test_a_path_that_cannot_be_used_is_named(tree: Path, paths: list[str]) -> None:
    with pytest.raises(ImageError, match=f"image app: .*{paths[0].lstrip('./')}"):
        context.context_files(tree, image(paths=paths))


def test_order_puts_bases_first() -> None:
    images = [
        image(name="dagster", base="python"),
        image(name="python", base="debian:bookworm"),
        image(name="emulators", base="python"),
    ]
    sorter = context.build_order(images)
    assert sorter.get_ready() == ("python",)
    sorter.done("python")
    assert set(sorter.get_ready()) == {"dagster", "emulators"}


def test_order_refuses_cycles_and_duplicates() -> None:
    with pytest.raises(ImageError, match="each other's base: .*a"):
        context.build_order([image(name="a", base="b"), image(name="b", base="a")])
    with pytest.raises(ImageError, match="a is listed twice"):
        context.build_order([image(name="a"), image(name="a")])


class FakeEngine:
    """The part of docker.APIClient that the builder calls, over a dict of tags."""

    def __init__(self, tags: dict[str, str], fail: str = "") -> None:
        self.tags, self.fail, self.builds = tags, fail, []  # type: ignore[var-annotated]
        self.api = self

    def inspect_image(self, reference: str) -> dict[str, str]:
        if reference not in self.tags:
            raise ImageNotFound("no such image")
        return {"Id": self.tags[reference]}

    def build(self, *, tag: str, buildargs: dict[str, str], **_: Any) -> Any:
        self.builds.append((tag.split(":")[0], buildargs["BASE"]))
        yield {"stream": "Step 1/1\n"}
        if self.fail in tag and self.fail:
            yield {"stream": "pip: cannot find it\n"}
            yield {"error": "The command returned a non-zero code: 1"}
            return
        self.tags[tag] = f"id of {tag}"

    def tag(self, source: str, repository: str, tag: str, force: bool) -> None:
        self.tags[f"{repository}:{tag}"] = self.tags.get(source, source)

    def images(self, name: str, filters: dict[str, list[str]]) -> list[dict[str, str]]:
        assert name.startswith("*/") and filters == {"label": ["site"]}, "one of ours"
        return [{"Id": self.tags[tag]} for tag in sorted(self.tags) if tag.split("/")[-1] == name[2:]]


def params(tree: Path) -> dict[str, Any]:
    return {
        "root": str(tree),
        "namespace": "shop",
        "labels": {},
        "push": "",
        "reference_registry": "registry.example:5000",
        "log_dir": str(tree / "logs"),
        "images": [
            {"name": "app", "dockerfile": "app/Dockerfile", "paths": ["app/src"], "base": "python"},
            {"name": "python", "dockerfile": "app/Dockerfile", "base": "debian:bookworm"},
        ],
    }


def test_builds_once_and_again_only_what_changed(tree: Path) -> None:
    engine = FakeEngine({"debian:bookworm": "id of debian"})
    first = builder.Builder(engine, params(tree), False).run()
    python = first["python"].reference.removeprefix("registry.example:5000/")
    assert engine.builds == [("shop/python", "debian:bookworm"), ("shop/app", python)]
    assert first["app"].reference.startswith("registry.example:5000/shop/app:")

    assert all(
        outcome.actions == [] for outcome in builder.Builder(engine, params(tree), False).run().values()
    )

    (tree / "app/src/main.py").write_text("print(3)\n")
    planned = builder.Builder(engine, params(tree), True).run()
    assert planned["python"].actions == []
    assert planned["app"].actions == ["built", "tagged"]
    assert len(engine.builds) == 2, "check mode must not build"


def test_an_image_of_the_same_content_is_taken_from_another_site_and_not_built(tree: Path) -> None:
    engine = FakeEngine({"debian:bookworm": "id of debian"})
    first = builder.Builder(engine, params(tree) | {"labels": {"site": "shop"}}, False).run()
    assert len(engine.builds) == 2
    other = params(tree) | {"labels": {"site": "staging-shop"}, "namespace": "staging-shop"}
    planned = builder.Builder(engine, other, True).run()
    second = builder.Builder(engine, other, False).run()
    assert len(engine.builds) == 2 and {"tagged"} == {one for each in second.values() for one in each.actions}
    assert [one.actions for one in planned.values()] == [one.actions for one in second.values()]
    for name in ("app", "python"):
        tag = second[name].reference.rpartition(":")[2]
        assert tag == first[name].reference.rpartition(":")[2]
        ids = {
            engine.tags[f"{space}/{name}:{one}"]
            for space in ("shop", "staging-shop")
            for one in (tag, "latest")
        }
        assert len(ids) == 1
    assert all(one.actions == [] for one in builder.Builder(engine, other, False).run().values())
    (tree / "app/src/main.py").write_text("print(3)\n")
    assert builder.Builder(engine, other, False).run()["app"].actions == ["built", "tagged"]


def test_a_failed_build_shows_the_end_of_its_log_and_builds_nothing_on_it(tree: Path) -> None:
    engine = FakeEngine({"debian:bookworm": "id of debian"}, fail="shop/python")
    with pytest.raises(
        ImageError, match=r"image python: .*non-zero code: 1\n.*build-python.log:\n(.*\n)*pip: cannot"
    ):
        builder.Builder(engine, params(tree), False).run()
    assert [name for name, _ in engine.builds] == ["shop/python"]


def test_only_what_is_needed_is_built_and_only_that_is_pushed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[str] = []
    monkeypatch.setattr(builder, "in_registry", lambda *_: False)
    monkeypatch.setattr(builder.Builder, "push_image", lambda self, built, *_: pushed.append(built))
    given = params(tree) | {"names": ["app"], "push": "127.0.0.1:5000"}
    given["images"] = [*given["images"], {"name": "other", "dockerfile": "app/Dockerfile", "base": "python"}]
    run = builder.Builder(FakeEngine({"debian:bookworm": "id of debian"}), given, False)
    outcomes = run.run()
    assert run.names == {"app"}
    assert sorted(outcomes) == ["app", "python"]
    assert [one.split(":")[0] for one in pushed] == ["shop/app"]
    assert outcomes["python"].reference.startswith("shop/python:"), "the registry does not have it"


def test_a_needed_image_that_is_not_listed_is_named(tree: Path) -> None:
    with pytest.raises(ImageError, match="image web is not in the list, which has app, python"):
        builder.Builder(FakeEngine({}), params(tree) | {"names": ["web"]}, False)


@pytest.mark.parametrize(
    ("base", "digests", "identity"),
    [
        ("debian:bookworm-slim", ["debian@sha256:1"], "debian:bookworm-slim"),
        ("debian@sha256:1", ["debian@sha256:1"], "debian@sha256:1"),
        (
            "registry.example:5000/debian",
            ["registry.example:5000/debian@sha256:1"],
            "registry.example:5000/debian",
        ),
        ("mine:1", [], "sha256:local"),
        ("mine:1", None, "sha256:local"),
        ("shop/rootfs:latest", ["debian@sha256:1"], "sha256:local"),
        ("shop/rootfs:latest", ["shop/rootfs@sha256:1"], "sha256:local"),
    ],
)
def test_a_pulled_base_counts_by_its_name_and_one_that_was_made_here_by_its_content(
    base: str, digests: list[str] | None, identity: str
) -> None:
    """Two laptops that pulled a base on different days give the same tag to the same sources."""
    assert builder.base_identity(base, {"Id": "sha256:local", "RepoDigests": digests}, "shop") == identity


def test_a_base_that_is_nowhere_is_named(tree: Path) -> None:
    with pytest.raises(
        ImageError, match="its base debian:bookworm is neither in the list nor on this engine"
    ):
        builder.Builder(FakeEngine({}), params(tree), False).run()


def test_result_file_is_written_only_when_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "state/images.json"
    assert builder.write_result(path, {"a": "x"}, True) and not path.exists()
    assert builder.write_result(path, {"a": "x"}, False)
    assert not builder.write_result(path, {"a": "x"}, False)
    assert builder.write_result(path, {"a": "y"}, False)


class FakeConnection:
    """Stands for an HTTPS connection; remembers what was asked of it."""

    asked: list[tuple[str, str, dict[str, str]]] = []

    def __init__(self, host: str, timeout: int) -> None:
        self.host, self.status = host, 404

    def request(self, method: str, path: str, headers: dict[str, str]) -> None:
        FakeConnection.asked.append((self.host, path, headers))

    def getresponse(self) -> FakeConnection:
        return self

    def close(self) -> None:
        pass


def test_a_registry_with_a_login_is_spoken_to_by_tls(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[dict[str, Any]] = []

    class Engine(FakeEngine):
        def push(self, remote: str, **arguments: Any) -> Any:
            pushed.append({"remote": remote, **arguments})
            return []

        def remove_image(self, reference: str, noprune: bool) -> None:
            del self.tags[reference]

    monkeypatch.setattr(registry.http.client, "HTTPSConnection", FakeConnection)
    login = {"username": "AWS", "password": "secret"}
    given = params(tree) | {"push": "registry.example", "login": login}
    outcomes = builder.Builder(Engine({"debian:bookworm": "id of debian"}), given, False).run()
    assert [outcome.actions for outcome in outcomes.values()] == [["built", "tagged", "pushed"]] * 2
    assert {one["auth_config"]["username"] for one in pushed} == {"AWS"}
    asked, path, headers = FakeConnection.asked[0]
    assert asked == "registry.example" and path.startswith("/v2/shop/python/manifests/")
    assert headers["Authorization"] == "Basic QVdTOnNlY3JldA=="

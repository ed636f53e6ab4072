"""A site on this machine belongs to one clone; another may neither take it over nor remove it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker import APIClient
from docker.errors import APIError

import local_cloud_owner as module

LABELS = {"retailflow.site": "shop"}
MOUNTED = "snowflake_certificate"


def engine(*sources: Path | str, labels: dict[str, str] = LABELS, hidden: tuple[str, ...] = ()) -> Any:
    """An engine with a container of the site that mounts these; it alone has the folders that are hidden."""
    mounts = [{"Type": "bind", "Source": str(source)} for source in sources]
    mounts.append({"Type": "volume", "Name": "shop-aws", "Source": "/elsewhere/.secrets/local/mounted/x"})

    def containers(*, all: bool, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        assert all, "a container that stands still is the site's too"
        wanted = {f"{key}={value}" for key, value in labels.items()}
        one, another = {"ImageID": "sha256:1", "Mounts": mounts}, {"ImageID": "sha256:2", "Mounts": []}
        return [one, another] if set(filters["label"]) == wanted else []

    created: list[str] = []

    def create_container(image: str, *, host_config: dict[str, Any]) -> dict[str, str]:
        """As the engine, which looks at its own folders."""
        assert image == "sha256:1"
        (mount,) = host_config["Mounts"]
        assert mount["Type"] == "bind" and mount["ReadOnly"]
        if mount["Source"] not in hidden:
            raise APIError(f"invalid mount config: bind source path does not exist: {mount['Source']}")
        created.append("made")
        return {"Id": "made"}

    return SimpleNamespace(
        api=SimpleNamespace(
            containers=containers,
            create_container=create_container,
            create_host_config=APIClient.create_host_config.__get__(SimpleNamespace(_version="1.47")),
            remove_container=created.remove,
            created=created,
        )
    )


def clone(path: Path, key: str | None) -> Path:
    """A clone's folder of secrets, with the site's key or none."""
    secrets = path / ".secrets/local"
    (secrets / "mounted" / MOUNTED).mkdir(parents=True)
    if key is not None:
        (secrets / "aws_operator").write_text(key)
    return secrets


def test_the_clone_that_made_it_goes_on(tmp_path: Path) -> None:
    secrets = clone(tmp_path / "first", "a key")
    assert module.owner(engine(secrets / "mounted" / MOUNTED), LABELS, secrets) == ""
    (tmp_path / "linked").symlink_to(tmp_path / "first")
    linked = tmp_path / "linked/.secrets/local"
    assert module.owner(engine(secrets / "mounted" / MOUNTED), LABELS, linked) == ""
    (secrets / "aws_operator").unlink()
    assert module.owner(engine(linked / "mounted" / MOUNTED), LABELS, secrets) == ""


@pytest.mark.parametrize("key", ["another key", None])
def test_another_clone_is_told_whose_it_is(tmp_path: Path, key: str | None) -> None:
    made = clone(tmp_path / "first", "a key")
    second = clone(tmp_path / "second", key)
    assert module.owner(engine(made / "mounted" / MOUNTED), LABELS, second) == str(tmp_path / "first")
    assert module.owner(engine(made / "mounted/deeper" / MOUNTED), LABELS, second) == str(tmp_path / "first")


def test_a_clone_without_any_secret_is_told_too(tmp_path: Path) -> None:
    made = clone(tmp_path / "first", "a key")
    never = tmp_path / "second/.secrets/local"
    assert module.owner(engine(made / "mounted" / MOUNTED), LABELS, never) == str(tmp_path / "first")


def test_a_clone_that_has_lost_its_key_is_told_by_another(tmp_path: Path) -> None:
    made = clone(tmp_path / "first", None)
    second = clone(tmp_path / "second", None)
    assert module.owner(engine(made / "mounted" / MOUNTED), LABELS, second) == str(tmp_path / "first")


def test_a_clone_with_the_same_secrets_goes_on(tmp_path: Path) -> None:
    made = clone(tmp_path / "first", "a key")
    recovered = clone(tmp_path / "second", "a key")
    assert module.owner(engine(made / "mounted" / MOUNTED), LABELS, recovered) == ""


def test_a_clone_that_is_gone_owns_nothing(tmp_path: Path) -> None:
    gone = tmp_path / "first/.secrets/local/mounted" / MOUNTED
    assert module.owner(engine(gone), LABELS, clone(tmp_path / "second", "another key")) == ""


def test_a_clone_that_only_the_engine_sees_owns_its_site(tmp_path: Path) -> None:
    """A control node in a container does not have the folders of other clones."""
    other = Path("/home/somebody/shop/.secrets/local")
    running = engine(other / "mounted" / MOUNTED, hidden=(str(other),))
    assert module.owner(running, LABELS, clone(tmp_path, "another key")) == "/home/somebody/shop"
    assert running.api.created == [], "the container that asked is gone"


def test_other_sites_and_other_mounts_count_for_nothing(tmp_path: Path) -> None:
    made = clone(tmp_path / "first", "a key")
    second = clone(tmp_path / "second", "another key")
    other_site = engine(made / "mounted" / MOUNTED, labels={"retailflow.site": "another"})
    assert module.owner(other_site, LABELS, second) == ""
    names = tmp_path / "first/.state/machine/names"
    names.mkdir(parents=True)
    assert module.owner(engine(names, "/mounted/x"), LABELS, second) == ""


def test_a_folder_that_may_not_be_looked_into_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clone(tmp_path / "first", "a key")
    second = clone(tmp_path / "second", "another key")

    def refused(*_: Any, **__: Any) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refused)
    monkeypatch.setattr(Path, "read_bytes", refused)
    assert module.owner(engine(made / "mounted" / MOUNTED), LABELS, second) == str(tmp_path / "first")

"""A site on this machine belongs to one clone; another may neither take it over nor remove it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

import local_cloud_owner as module

LABELS = {"retailflow.site": "shop"}
MOUNTED = "snowflake_certificate"


def engine(
    *sources: Path | str, labels: dict[str, str] = LABELS, sees: tuple[Path, ...] = (), fault: str = ""
) -> Any:
    """An engine with a container of the site that mounts these, on a machine with other folders besides."""
    mounts = [{"Type": "bind", "Source": str(source)} for source in sources]
    mounts.append({"Type": "volume", "Name": "shop-aws", "Source": "/elsewhere/.secrets/local/mounted/x"})
    probes: list[str] = []

    def containers(*, all: bool, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        assert all, "a container that stands still is the site's too"
        wanted = {f"{key}={value}" for key, value in labels.items()}
        ours = [{"Mounts": mounts, "ImageID": "sha256:1"}, {"Mounts": [], "ImageID": "sha256:2"}]
        return ours if set(filters["label"]) == wanted else []

    def create_container(image: str, host_config: dict[str, Any]) -> dict[str, str]:
        source = Path(host_config["mounts"][0]["Source"])
        assert image == "sha256:1", "an image that the engine has"
        if fault:
            raise APIError(fault)
        if source not in sees:
            raise APIError(f'invalid mount config for type "bind": bind source path does not exist: {source}')
        probes.append("probe")
        return {"Id": "probe"}

    def remove_container(name: str, force: bool) -> None:
        probes.remove(name)

    def create_host_config(**options: Any) -> dict[str, Any]:
        return options

    api = SimpleNamespace(
        containers=containers,
        create_host_config=create_host_config,
        create_container=create_container,
        remove_container=remove_container,
    )
    return SimpleNamespace(api=api, probes=probes)


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


def test_a_clone_that_the_control_node_does_not_see_is_asked_of_the_engine(tmp_path: Path) -> None:
    """In a container, as ./retailflow runs it, no clone is mounted but its own."""
    hidden = tmp_path / "first/.secrets/local"
    second = clone(tmp_path / "second", "another key")
    asked = engine(hidden / "mounted" / MOUNTED, sees=(hidden,))
    assert module.owner(asked, LABELS, second) == str(tmp_path / "first")
    assert asked.probes == [], "what asked the engine is removed again"


def test_a_clone_is_believed_to_be_there_where_the_engine_cannot_tell(tmp_path: Path) -> None:
    hidden = tmp_path / "first/.secrets/local"
    second = clone(tmp_path / "second", "another key")
    asked = engine(hidden / "mounted" / MOUNTED, fault="no space left on device")
    assert module.owner(asked, LABELS, second) == str(tmp_path / "first")

"""The module host_files: what it writes, what it leaves alone, and that bad input changes no file."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

import host_files

MINE = {"owner": str(os.getuid()), "group": str(os.getgid())}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the module in this process; everything belongs to whoever runs the test."""

    def run(check: bool = False, **arguments: Any) -> dict[str, Any]:
        for kind in ("folders", "files"):
            arguments[kind] = [MINE | one for one in arguments.get(kind, [])]
        arguments |= {"_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            host_files.main()
        return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))

    return run


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_run_changes_nothing(call: Any, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("of an earlier release")
    wanted = {
        "folders": [{"path": f"{tmp_path}/a/b", "mode": "0700"}],
        "files": [
            {"path": f"{tmp_path}/a/b/key", "content": "secret", "mode": "0600", "secret": True},
            {"path": f"{tmp_path}/a/b/umläut", "content": "ä\n\n"},
        ],
        "links": [{"path": f"{tmp_path}/name", "target": f"{tmp_path}/a/b/key"}],
        "absent": [f"{tmp_path}/old"],
    }
    told = call(check=True, **wanted)
    assert told["changed"] and [one.name for one in tmp_path.iterdir()] == ["old"]
    first = call(**wanted)
    assert first["paths"] == told["paths"] and len(first["paths"]) == 5
    assert (tmp_path / "name").read_text() == "secret" and (
        tmp_path / "a/b/umläut"
    ).read_bytes() == "ä\n\n".encode()
    assert (mode(tmp_path / "a"), mode(tmp_path / "a/b"), mode(tmp_path / "a/b/key")) == (0o755, 0o700, 0o600)
    assert [one["after"] for one in first["diff"]] == ["ä\n\n"], "the secret is in no diff"
    again = call(**wanted)
    assert (again["changed"], again["paths"], again["diff"]) == (False, [], [])


def test_what_differs_is_mended_and_nothing_else(call: Any, tmp_path: Path) -> None:
    for name in ("kept", "content", "rights"):
        (tmp_path / name).write_text("as wanted")
        (tmp_path / name).chmod(0o640)
    (tmp_path / "content").write_text("changed by hand")
    (tmp_path / "rights").chmod(0o666)
    before = (tmp_path / "kept").stat()
    done = call(
        files=[
            {"path": f"{tmp_path}/{name}", "content": "as wanted", "mode": "0640"}
            for name in ("kept", "content", "rights")
        ]
    )
    assert done["paths"] == [f"{tmp_path}/content", f"{tmp_path}/rights"]
    assert {(one.read_text(), mode(one)) for one in tmp_path.iterdir()} == {("as wanted", 0o640)}
    assert (tmp_path / "kept").stat().st_ino == before.st_ino


def test_content_that_is_not_accepted_changes_no_file(call: Any, tmp_path: Path) -> None:
    (tmp_path / "first").write_text("old")
    done = call(
        files=[
            {"path": f"{tmp_path}/first", "content": "new"},
            {"path": f"{tmp_path}/second", "content": "bad", "validate": "grep -q good %s"},
        ]
    )
    assert done["failed"] and f"grep does not accept the content of {tmp_path}/second" in done["msg"]
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"first": "old"}, "and leaves nothing"
    good = call(files=[{"path": f"{tmp_path}/second", "content": "good", "validate": "grep -q good %s"}])
    assert good["paths"] == [f"{tmp_path}/second"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"files": [{"path": "{}/folder", "content": ""}]},
        {"links": [{"path": "{}/folder", "target": "/"}]},
        {"absent": ["{}/folder"]},
        {"folders": [{"path": "{}/file"}]},
    ],
    ids=lambda wanted: next(iter(wanted)),
)
def test_another_kind_of_thing_in_its_place_is_refused(
    call: Any, tmp_path: Path, wanted: dict[str, Any]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/rows").write_text("of somebody")
    (tmp_path / "file").write_text("of somebody")
    done = call(**json.loads(json.dumps(wanted).replace("{}", str(tmp_path))))
    assert done["failed"] and str(tmp_path) in done["msg"]
    assert (tmp_path / "folder/rows").read_text() == (tmp_path / "file").read_text() == "of somebody"


def test_a_link_takes_the_place_of_a_file_and_of_another_link(call: Any, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("of an earlier release")
    for target in ("/bin/true", "/bin/false"):
        done = call(links=[{"path": f"{tmp_path}/program", "target": target}])
        assert done["paths"] == [f"{tmp_path}/program"]
        assert os.readlink(tmp_path / "program") == target
    assert [one.name for one in tmp_path.iterdir()] == ["program"]


def test_a_missing_folder_is_named_with_what_was_changed_before(call: Any, tmp_path: Path) -> None:
    done = call(
        folders=[{"path": f"{tmp_path}/made"}], files=[{"path": f"{tmp_path}/missing/file", "content": ""}]
    )
    assert done["failed"] and f"{tmp_path}/missing" in done["msg"]
    assert done["msg"].endswith(f"What was changed before: {tmp_path}/made.")

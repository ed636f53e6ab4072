"""What a lost control node needs is kept in a bucket of ours and comes back from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.retailflow_bucket import Bucket
from ansible.module_utils.retailflow_recovery import Bundle, RecoveryError, State, seal, unseal

TAGS = {"KeepsStateOf": "shop"}
NAME = "shop-state-123456789012"
STATE = {
    "version": 4,
    "serial": 7,
    "lineage": "a-b",
    "outputs": {"vpc_id": {"value": "vpc-1", "type": "string"}},
    "resources": [{"type": "aws_vpc"}],
}
PATTERNS = [".secrets/local/*", ".state/local/terraform.tfstate", "inventory/group_vars/aws/site.yml"]


@pytest.fixture
def bucket(s3: Any) -> str:
    Bucket(s3, NAME, TAGS).ensure()
    return NAME


def test_a_state_moves_from_its_file_into_the_bucket(s3: Any, bucket: str, tmp_path: Path) -> None:
    file, state = tmp_path / "terraform.tfstate", State(s3, bucket, "shop.tfstate")
    assert state.read() is None and state.outputs() == {}
    assert not state.take_over(file), "there is nothing to move"
    file.write_text(json.dumps(STATE))
    assert state.take_over(file, check_mode=True) and state.read() is None and file.exists()
    assert state.take_over(file) and not state.take_over(file)
    assert state.read() == STATE and state.outputs() == {"vpc_id": "vpc-1"}
    assert json.loads((tmp_path / "terraform.tfstate.moved").read_text()) == STATE, "nothing is lost"


def test_a_newer_state_in_the_bucket_stays(s3: Any, bucket: str, tmp_path: Path) -> None:
    newer = STATE | {"serial": 9}
    s3.put_object(Bucket=bucket, Key="shop.tfstate", Body=json.dumps(newer).encode())
    (tmp_path / "terraform.tfstate").write_text(json.dumps(STATE))
    state = State(s3, bucket, "shop.tfstate")
    assert state.take_over(tmp_path / "terraform.tfstate")
    assert state.read() == newer


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"shop.tfstate": json.dumps(STATE | {"lineage": "c-d"})}, "the state of another site"),
        ({"shop.tfstate.tflock": "{}"}, "a run of Terraform holds shop.tfstate.tflock"),
    ],
)
def test_what_others_need_is_not_overwritten(
    s3: Any, bucket: str, tmp_path: Path, there: dict[str, str], words: str
) -> None:
    for key, text in there.items():
        s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
    file = tmp_path / "terraform.tfstate"
    file.write_text(json.dumps(STATE))
    with pytest.raises(RecoveryError, match=words):
        State(s3, bucket, "shop.tfstate").take_over(file)
    assert file.exists()


MODES = {".secrets/local/db_admin": 0o600, ".state/local/terraform.tfstate": 0o644}


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A control node with what PATTERNS name, and more."""
    root = tmp_path / "first"
    for name, text in {
        ".secrets/local/db_admin": "hunter2\n",
        ".secrets/local/.half-written": "no secret",
        ".state/local/terraform.tfstate": json.dumps(STATE),
        ".state/local/summary.txt": "made again",
        "inventory/group_vars/aws/site.yml": "---\nretailflow_region: ä\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, mode in MODES.items():
        (root / name).chmod(mode)
    return root


@pytest.mark.parametrize("passphrase", ["", "correct horse", "ä" * 200])
def test_a_fresh_clone_gets_back_what_was_kept(
    s3: Any, bucket: str, node: Path, tmp_path: Path, passphrase: str
) -> None:
    first = Bundle(s3, bucket, "shop.recovery", node, passphrase)
    assert first.store(PATTERNS, check_mode=True) and first.kept() is None
    assert first.store(PATTERNS) and not first.store(PATTERNS), "only what changed is stored"
    raw = s3.get_object(Bucket=bucket, Key="shop.recovery")["Body"].read()
    assert (b"aHVudGVyMg" in raw) == (not passphrase), "base64 of the secret"
    fresh = tmp_path / "fresh"
    (fresh / "inventory/group_vars/aws").mkdir(parents=True)
    second = Bundle(s3, bucket, "shop.recovery", fresh, passphrase)
    names = [".secrets/local/db_admin", ".state/local/terraform.tfstate", "inventory/group_vars/aws/site.yml"]
    assert second.fetch(check_mode=True) == names and not (fresh / names[0]).exists()
    assert second.fetch() == names and second.fetch() == []
    assert {name: (fresh / name).read_bytes() for name in names} == {
        name: (node / name).read_bytes() for name in names
    }
    assert {name: (fresh / name).stat().st_mode & 0o777 for name in MODES} == MODES
    assert (
        (fresh / ".secrets/local").stat().st_mode & 0o777
        == (fresh / ".secrets").stat().st_mode & 0o777
        == 0o700
    )


def test_a_bundle_without_modes_is_read_and_replaced(
    s3: Any, bucket: str, node: Path, tmp_path: Path
) -> None:
    body = json.dumps({".secrets/local/db_admin": "aHVudGVyMgo="}).encode()
    s3.put_object(Bucket=bucket, Key="shop.recovery", Body=body)
    assert Bundle(s3, bucket, "shop.recovery", tmp_path).fetch() == [".secrets/local/db_admin"]
    assert (tmp_path / ".secrets/local/db_admin").read_text() == "hunter2\n"
    assert (tmp_path / ".secrets/local/db_admin").stat().st_mode & 0o777 == 0o600
    again = Bundle(s3, bucket, "shop.recovery", node)
    assert again.store(PATTERNS) and not again.store(PATTERNS)


def test_a_file_that_differs_is_refused_and_nothing_is_written(
    s3: Any, bucket: str, node: Path, tmp_path: Path
) -> None:
    Bundle(s3, bucket, "shop.recovery", node).store(PATTERNS)
    (tmp_path / ".secrets/local").mkdir(parents=True)
    (tmp_path / ".secrets/local/db_admin").write_text("another")
    with pytest.raises(RecoveryError, match=r"\.secrets/local/db_admin differ from what was kept"):
        Bundle(s3, bucket, "shop.recovery", tmp_path).fetch()
    assert not (tmp_path / ".state").exists()


def test_another_passphrase_and_a_bit_that_flipped_are_refused(s3: Any, bucket: str, node: Path) -> None:
    Bundle(s3, bucket, "shop.recovery", node, "right").store(PATTERNS)
    for wrong in ("wrong", ""):
        with pytest.raises(RecoveryError, match="passphrase"):
            Bundle(s3, bucket, "shop.recovery", node, wrong).kept()
    assert Bundle(s3, bucket, "shop.recovery", node, "new").store(PATTERNS), (
        "who has the files may choose another"
    )
    sealed = bytearray(seal(b"content", "p"))
    assert unseal(bytes(sealed), "p") == b"content"
    for place in (25, 40, len(sealed) - 1):
        flipped = bytes(byte ^ (place == at) for at, byte in enumerate(sealed))
        with pytest.raises(RecoveryError, match="changed"):
            unseal(flipped, "p")


def test_a_bundle_that_was_never_made_or_leads_outside_is_refused(
    s3: Any, bucket: str, tmp_path: Path
) -> None:
    with pytest.raises(RecoveryError, match="no site of this name was kept there"):
        Bundle(s3, bucket, "shop.recovery", tmp_path).fetch()
    for name in ("/etc/passwd", "../outside"):
        s3.put_object(
            Bucket=bucket,
            Key="shop.recovery",
            Body=json.dumps({name: {"mode": "600", "content": ""}}).encode(),
        )
        with pytest.raises(RecoveryError, match="outside of the project"):
            Bundle(s3, bucket, "shop.recovery", tmp_path).fetch()

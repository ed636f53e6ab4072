"""The role certificates: made once, made again when due, and bad input refused before anything changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

import certificates
import small_play
from tls_support import Authority, Signed

SERVER = {"name": "postgres", "names": ["ip-10-86-1-11.ec2.internal"], "addresses": ["10.86.1.11"]}
RENEW_DAYS = 30


def play(folder: Path, tasks: list[dict[str, Any]]) -> None:
    """Run tasks on this machine with the role's variables for files below a folder."""
    given = {
        "certificates_authority_key": f"{folder}/secrets/authority.key",
        "certificates_authority_certificate": f"{folder}/secrets/authority.crt",
        "certificates_dir": f"{folder}/certificates",
        "certificates_servers": [SERVER],
    }
    small_play.run(folder, tasks, play={"vars": given})


def signing() -> dict[str, Any]:
    return {"ansible.builtin.include_role": {"name": "certificates"}}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*.[ck][re]*"))}


def write(folder: Path, signed: Signed) -> None:
    (folder / "postgres.crt").write_text(signed.certificate)
    (folder / "postgres.key").write_text(signed.key)


def test_authority_and_certificate_are_made_once(tmp_path: Path) -> None:
    checked = {"ansible.builtin.assert": {"that": "certificates_signed == ['postgres']"}}
    idle = {"ansible.builtin.assert": {"that": "certificates_signed == []"}}
    kept = {
        "ansible.builtin.command": {"argv": ["cp", "-r", f"{tmp_path}/certificates", f"{tmp_path}/first"]},
    }
    play(tmp_path, [signing(), checked, kept, signing(), idle])
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    for key in (tmp_path / "secrets/authority.key", tmp_path / "certificates/postgres.key"):
        assert key.stat().st_mode & 0o777 == 0o600
    for file in ("postgres.crt", "postgres.key"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "certificates" / file).read_bytes()

    authority = x509.load_pem_x509_certificate((tmp_path / "secrets/authority.crt").read_bytes())
    made = x509.load_pem_x509_certificate((tmp_path / "certificates/postgres.crt").read_bytes())
    made.verify_directly_issued_by(authority)
    assert 3649 <= (authority.not_valid_after_utc - authority.not_valid_before_utc).days <= 3651
    assert 89 <= (made.not_valid_after_utc - made.not_valid_before_utc).days <= 91
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == SERVER["names"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == SERVER["addresses"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_bad_input_is_refused_before_anything_changes(tmp_path: Path) -> None:
    """One authority that cannot be read, and one server without a name."""
    (tmp_path / "secrets").mkdir()
    for file in ("authority.key", "authority.crt"):
        (tmp_path / "secrets" / file).write_text("nothing\n")
    message = {"ansible.builtin.set_fact": {"said": "{{ said | default([]) + [ansible_failed_result.msg] }}"}}
    nameless = {"vars": {"certificates_servers": [{**SERVER, "names": [""]}]}}
    tasks = [
        {"block": [signing()], "rescue": [message]},
        {"block": [signing() | nameless], "rescue": [message]},
        {"ansible.builtin.copy": {"content": "{{ said | to_json }}", "dest": f"{tmp_path}/said.json"}},
    ]
    play(tmp_path, tasks)
    said = json.loads((tmp_path / "said.json").read_text())
    assert len(said) == 2, said
    assert all("Nothing was changed." in one for one in said), said
    assert "cannot be read" in said[0] and "no DNS name" in said[1], said
    assert contents(tmp_path) == {
        "secrets/authority.crt": b"nothing\n",
        "secrets/authority.key": b"nothing\n",
    }


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(days=3650)


def due(folder: Path, authority: Authority, **changes: Any) -> list[str]:
    """Why the server of a folder needs a new certificate."""
    (folder / "authority.crt").write_text(authority.certificate)
    found = certificates.certificates_due(
        [{**SERVER, **changes}], str(folder), str(folder / "authority.crt"), RENEW_DAYS
    )
    return [one["reason"] for one in found]


def good(authority: Authority, **changes: Any) -> Signed:
    return authority.sign(**{"names": SERVER["names"], "addresses": SERVER["addresses"], **changes})


@pytest.mark.parametrize(("days", "renewed"), [(90, False), (30.1, False), (29.99, True), (-1, True)])
def test_a_certificate_is_renewed_at_thirty_days_left(
    tmp_path: Path, authority: Authority, days: float, renewed: bool
) -> None:
    write(tmp_path, good(authority, days=days))
    assert bool(due(tmp_path, authority)) == renewed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"names": ["other.ec2.internal"]}, "names"),
        ({"names": [*SERVER["names"], "second.ec2.internal"]}, "names"),
        ({"addresses": ["10.86.1.12"]}, "names"),
        ({"addresses": []}, "names"),
    ],
)
def test_a_certificate_is_renewed_when_its_names_change(
    tmp_path: Path, authority: Authority, changes: dict[str, Any], reason: str | None
) -> None:
    write(tmp_path, good(authority))
    found = due(tmp_path, authority, **changes)
    assert (reason in found[0]) if reason else not found


def test_a_certificate_is_renewed_with_a_new_authority(tmp_path: Path, authority: Authority) -> None:
    """Also where the new one has the name of the old one."""
    write(tmp_path, good(authority))
    for other in (Authority(), Authority("another name")):
        assert due(tmp_path, other) == ["the authority is another one"]


def test_what_cannot_be_used_is_made_again(tmp_path: Path, authority: Authority) -> None:
    assert due(tmp_path, authority) == ["there is none"]
    one, other = good(authority), good(authority)
    for content, reason in (
        (Signed(one.certificate, other.key), "do not belong together"),
        (Signed(one.certificate, "nothing"), "cannot be read"),
        (Signed("nothing", one.key), "cannot be read"),
    ):
        write(tmp_path, content)
        assert reason in due(tmp_path, authority)[0]


AUTHORITIES: dict[str, Callable[[], tuple[str | None, str | None]]] = {
    "is missing": lambda: (None, Authority().certificate),
    "cannot be read": lambda: (Authority().key, "-----BEGIN CERTIFICATE-----"),
    "key cannot be read": lambda: ("nothing", Authority("a").certificate),
    "key alone cannot be read": lambda: ("nothing", None),
    "does not belong": lambda: (Authority().key, Authority().certificate),
    "is not an authority's": lambda: ((one := Authority(ca=False)).key, one.certificate),
    "has ended": lambda: ((one := Authority(days=-1)).key, one.certificate),
}


@pytest.mark.parametrize("problem", AUTHORITIES)
def test_an_authority_that_cannot_sign_is_refused(tmp_path: Path, problem: str) -> None:
    files = {"key": tmp_path / "a.key", "certificate": tmp_path / "a.crt"}
    for file, content in zip(files.values(), AUTHORITIES[problem](), strict=True):
        if content is not None:
            file.write_text(content)
    found = certificates.certificates_authority({name: str(path) for name, path in files.items()})
    words = problem.removeprefix("key ").removeprefix("alone ")
    assert words in found["problem"] and "Remove both files" in found["problem"], found
    assert str(tmp_path) in found["problem"] and not found["missing"]


def test_a_sound_authority_is_taken_and_none_is_missing(tmp_path: Path, authority: Authority) -> None:
    files = {"key": str(tmp_path / "a.key"), "certificate": str(tmp_path / "a.crt")}
    assert certificates.certificates_authority(files) == {"missing": True, "problem": ""}
    Path(files["key"]).write_text(
        authority.key
    )  # the certificate is still missing after a run that was cut off
    assert certificates.certificates_authority(files) == {"missing": True, "problem": ""}
    Path(files["certificate"]).write_text(authority.certificate)
    assert certificates.certificates_authority(files) == {"missing": False, "problem": ""}
    assert (
        "Set certificates_authority_key"
        in certificates.certificates_authority({"key": "", "certificate": "a"})["problem"]
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"name": ""}, "needs a name"),
        ({"name": "../up"}, "needs a name"),
        ({"names": []}, "has no DNS name"),
        ({"names": [""]}, "is no DNS name"),
        ({"names": ["a b"]}, "is no DNS name"),
        ({"names": ["a" * 64]}, "is no DNS name"),
        ({"addresses": ["10.86.1"]}, "is no IP address"),
        ({"addresses": [""]}, "is no IP address"),
    ],
)
def test_a_server_that_cannot_be_named_is_refused(changes: dict[str, Any], words: str) -> None:
    found = certificates.certificates_problem([{**SERVER, **changes}], "/folder", 90, 30)
    assert words in found and bool(words) == bool(found)


def test_days_and_folder_that_cannot_work_are_refused() -> None:
    assert "certificates_dir" in certificates.certificates_problem([SERVER], "", 90, 30)
    for days, renew in ((90, 90), (90, 0), (30, 31)):
        assert "certificates_renew_days" in certificates.certificates_problem([SERVER], "/f", days, renew)
    assert "Two servers" in certificates.certificates_problem([SERVER, SERVER], "/f", 90, 30)

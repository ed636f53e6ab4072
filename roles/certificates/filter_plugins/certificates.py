"""Filters that say what of a site's certificates is wrong, missing or due, read in Ansible's own process."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# A label has 63 characters at most (RFC 1035, 2.3.4).
DNS_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
AGAIN = (
    "Remove both files to get a new authority, or bring back the ones that were there, then run this again."
)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _certificate(path: Path) -> x509.Certificate:
    """Read a PEM file; OSError or ValueError where there is none in it."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def _fits(key: Path, certificate: x509.Certificate) -> bool:
    """Whether a private key belongs to a certificate; OSError, TypeError or ValueError for a file that holds no such key."""
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return load_pem_private_key(key.read_bytes(), None).public_key().public_bytes(*form) == (
        certificate.public_key().public_bytes(*form)
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca


def certificates_authority(files: Mapping[str, str]) -> dict[str, Any]:
    """Files ``key`` and ``certificate`` -> ``missing``, whether it is to be made, and ``problem``, a sentence or empty."""
    for what, variable in (
        ("key", "certificates_authority_key"),
        ("certificate", "certificates_authority_certificate"),
    ):
        if not files[what]:
            return {"missing": False, "problem": f"Set {variable}: the file of the authority's {what}."}
    key, path = Path(files["key"]), Path(files["certificate"])
    if not key.exists() and not path.exists():
        return {"missing": True, "problem": ""}
    if not path.exists():  # as a run leaves it that was cut off between the two
        problem = _key_problem(key, None)
    elif not key.exists():
        problem = f"The authority's key {key} is missing, but its certificate {path} is there. {AGAIN}"
    else:
        problem = _authority_problem(key, path)
    return {"missing": not path.exists() and not problem, "problem": problem}


def _key_problem(key: Path, certificate: x509.Certificate | None) -> str:
    try:
        if certificate is None:
            load_pem_private_key(key.read_bytes(), None)
        elif not _fits(key, certificate):
            return f"The authority's key {key} does not belong to its certificate. {AGAIN}"
    except (OSError, TypeError, ValueError) as error:
        return f"The authority's key {key} cannot be read ({_words(error)}). {AGAIN}"
    return ""


def _authority_problem(key: Path, path: Path) -> str:
    try:
        certificate = _certificate(path)
    except (OSError, ValueError) as error:
        return f"The authority's certificate {path} cannot be read ({_words(error)}). {AGAIN}"
    if not _is_authority(certificate):
        return f"The certificate in {path} is not an authority's: it may sign no others. {AGAIN}"
    if certificate.not_valid_after_utc <= _now():
        return f"The authority in {path} has ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC. {AGAIN}"
    return _key_problem(key, certificate)


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, TypeError):
        return "it is encrypted"
    return "it holds no such thing in PEM"


def certificates_problem(
    servers: Sequence[Mapping[str, Any]], folder: str, days: int, renew_days: int
) -> str:
    """Why certificates for these servers cannot be made, as a sentence; empty where they can."""
    if not folder:
        return "Set certificates_dir, the folder of the servers' certificates."
    if not 0 < int(renew_days) < int(days):
        return (
            f"certificates_renew_days must be above 0 and below certificates_days ({days}), got {renew_days}."
        )
    seen = set()
    for server in servers:
        name = str(server.get("name") or "")
        if not FILE_NAME.fullmatch(name):
            return f"A server of certificates_servers needs a name of lower-case letters and digits for its files, got {name!r}."
        if name in seen:
            return f"Two servers of certificates_servers have the name {name}."
        seen.add(name)
        names = [str(one or "") for one in server.get("names") or []]
        if not names:
            return f"The server {name} of certificates_servers has no DNS name: set its names."
        for one in names:
            if not DNS_NAME.fullmatch(one):
                return f"The server {name} of certificates_servers has a name that is no DNS name: {one!r}."
        for address in server.get("addresses") or []:
            try:
                ipaddress.ip_address(str(address or ""))
            except ValueError:
                return f"The server {name} of certificates_servers has an address that is no IP address: {address!r}."
    return ""


def _reason(
    server: Mapping[str, Any],
    folder: Path,
    authority: x509.Certificate | None,
    days: int,
    now: datetime.datetime,
) -> str:
    """Why a server needs a new certificate; empty where it needs none."""
    path, key = folder / f"{server['name']}.crt", folder / f"{server['name']}.key"
    if not path.exists() or not key.exists():
        return "there is none"
    try:
        certificate = _certificate(path)
        if not _fits(key, certificate):
            return "key and certificate do not belong together"
    except (OSError, TypeError, ValueError):
        return "it cannot be read"
    if certificate.not_valid_after_utc - now <= datetime.timedelta(days=days):
        return f"it ends at {certificate.not_valid_after_utc:%Y-%m-%d}"
    if authority is None:
        return "the authority is new"
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return "the authority is another one"
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "it has no names"
    found = {
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    }
    wanted = {*server["names"], *(str(ipaddress.ip_address(one)) for one in server.get("addresses") or [])}
    return "" if found == wanted else "its names have changed"


def certificates_due(
    servers: Sequence[Mapping[str, Any]], folder: str, authority: str, renew_days: int
) -> list[dict[str, Any]]:
    """The servers that need a new certificate, each with the ``reason``.

    Where there is no authority yet, as in check mode before the first run, that is all of them.
    """
    try:
        issuer = _certificate(Path(authority)) if Path(authority).exists() else None
    except (OSError, ValueError) as error:
        raise AnsibleFilterError(
            f"The authority's certificate {authority} cannot be read: {error}"
        ) from error
    now = _now()
    due = [(server, _reason(server, Path(folder), issuer, int(renew_days), now)) for server in servers]
    return [{**server, "reason": reason} for server, reason in due if reason]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name -> filter."""
        return {
            "certificates_authority": certificates_authority,
            "certificates_due": certificates_due,
            "certificates_problem": certificates_problem,
        }

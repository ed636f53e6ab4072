"""Certificates of a site that end soon, from the files of the control node: for the module site_status."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path

#: `make up` renews what has 30 days left: fewer than these say that nobody has run it for long.
DAYS = 14
#: Nothing renews it by itself, because every client has to learn the new one.
AUTHORITY = "the authority"


def of_certificates(files: Mapping[str, str], now: datetime.datetime) -> Iterator[tuple[str, str, str, str]]:
    """Yield part, what, since and what to do of each certificate that ends within `DAYS`, has ended or cannot be read.

    `files` are certificates in PEM by the name of who shows them; one that is on another control node is no problem here.
    """
    from cryptography import x509  # only where a site is judged

    for name, path in files.items():
        todo = 'see "Certificates" in docs/operations.md' if name == AUTHORITY else "run make up"
        try:
            end = x509.load_pem_x509_certificate(Path(path).read_bytes()).not_valid_after_utc
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            yield f"certificate of {name}", f"cannot be read: {path}", "", todo
            continue
        moment = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        if end <= now:
            yield f"certificate of {name}", "has ended, and every login is refused", moment, todo
        elif end - now <= datetime.timedelta(days=DAYS):
            yield f"certificate of {name}", f"ends at {moment}", "", todo

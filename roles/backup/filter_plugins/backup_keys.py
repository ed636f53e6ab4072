"""Filter that says whether what was encrypted for a public key of ssh can be read with the private keys that there are."""

from __future__ import annotations

import re
from typing import Any

from ansible.errors import AnsibleFilterError
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

PRIVATE = re.compile(
    r"-----BEGIN OPENSSH PRIVATE KEY-----\n.*?\n-----END OPENSSH PRIVATE KEY-----", re.DOTALL
)


def backup_readable(public: str, private: str) -> bool:
    """Whether one of the private keys, one below the other, belongs to a public key; its comment does not count."""
    try:
        pairs = [
            load_ssh_private_key(f"{key}\n".encode(), None).public_key() for key in PRIVATE.findall(private)
        ]
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError(f"a private key of the backups cannot be read: {error}") from error
    known = {
        key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode().split()[1]  # type: ignore[union-attr]
        for key in pairs
    }
    return len(public.split()) > 1 and public.split()[1] in known


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Names of the filters."""
        return {"backup_readable": backup_readable}

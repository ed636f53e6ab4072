"""The client id and secret of the API, made at the first start as abctl makes its own, and kept.

`python -m retailflow_emulators.airbyte.credentials` prints them as JSON, {"client_id": …, "client_secret": …}. With `rotate`
it makes another secret under the same id and prints nothing; a server that runs goes on with the old one, as Airbyte's does.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Credentials:
    """One pair for the whole installation: Airbyte's instance admin has one, too."""

    client_id: str
    client_secret: str

    @classmethod
    def read(cls, data_dir: Path) -> Self:
        """Raises FileNotFoundError before the first start."""
        return cls(**json.loads(_path(data_dir).read_text(encoding="utf-8")))

    @classmethod
    def ensure(cls, data_dir: Path) -> Self:
        """Read them, or make them where there are none; only their owner may read the file."""
        try:
            return cls.read(data_dir)
        except FileNotFoundError:
            made = cls(client_id=str(uuid.uuid4()), client_secret=secrets.token_urlsafe(32))
        data_dir.mkdir(parents=True, exist_ok=True)
        made.write(data_dir)
        return made

    @classmethod
    def rotate(cls, data_dir: Path) -> Self:
        """Another secret for the same id; FileNotFoundError before the first start."""
        made = cls(cls.read(data_dir).client_id, secrets.token_urlsafe(32))
        made.write(data_dir)
        return made

    def write(self, data_dir: Path) -> None:
        """Keep them, whole or not at all."""
        descriptor, temporary = tempfile.mkstemp(dir=data_dir)  # mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, _path(data_dir))


def _path(data_dir: Path) -> Path:
    return data_dir / "credentials.json"


if __name__ == "__main__":
    folder = Path(os.environ.get("EMBEDDED_AIRBYTE_DATA_DIR", "/data"))
    if sys.argv[1:] not in ([], ["rotate"]):
        sys.exit("usage: python -m retailflow_emulators.airbyte.credentials [rotate]")
    try:
        if sys.argv[1:]:
            Credentials.rotate(folder)
        else:
            print(json.dumps(asdict(Credentials.read(folder))))
    except FileNotFoundError:
        sys.exit(
            "embedded Airbyte has not made its credentials yet: it makes them when it starts for the first time"
        )

"""The client id and secret of the API, made at the first start as abctl makes its own, and kept.

`python -m retailflow_emulators.airbyte.credentials` prints them as JSON, {"client_id": …, "client_secret": …}.
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
        descriptor, temporary = tempfile.mkstemp(dir=data_dir)  # mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(made), file)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, _path(data_dir))
        return made


def _path(data_dir: Path) -> Path:
    return data_dir / "credentials.json"


if __name__ == "__main__":
    folder = Path(os.environ.get("EMBEDDED_AIRBYTE_DATA_DIR", "/data"))
    try:
        print(json.dumps(asdict(Credentials.read(folder))))
    except FileNotFoundError:
        sys.exit(
            "embedded Airbyte has not made its credentials yet: it makes them when it starts for the first time"
        )

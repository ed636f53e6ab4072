"""The folder into which PostgreSQL copies its log, with notes about storing it. Does without boto3: `status` starts often."""

from __future__ import annotations

from pathlib import Path

from .basics import Json, iso_of, read
from .segments import ARCHIVED


class Spool:
    """What waits, and the notes about what was stored, as the configuration names them."""

    def __init__(self, config: Json) -> None:
        self.path = Path(config["spool"])
        self.notes = Path(config["folder"])
        self.shipped = self.notes / "shipped.json"
        self.error = self.notes / "error.json"
        self.base = self.notes / "base.json"

    def waiting(self) -> list[Path]:
        """What the spool holds, oldest first; unfinished copies begin with a dot."""
        if not self.path.is_dir():
            return []
        found = [one for one in self.path.iterdir() if ARCHIVED.fullmatch(one.name)]
        return sorted(found, key=lambda one: (one.stat().st_mtime, one.name))

    def status(self) -> Json:
        """How storing goes, without asking the store."""
        waiting = self.waiting()
        oldest = min((one.stat().st_mtime for one in waiting), default=0.0)
        base = read(self.base)
        return {
            "spool_files": len(waiting),
            "spool_bytes": sum(one.stat().st_size for one in waiting),
            "spool_since": iso_of(oldest) if waiting else "",
            "shipped": read(self.shipped),
            "error": read(self.error),
            "base": {
                key: base[key] for key in ("name", "ended", "seconds", "bytes", "cluster") if key in base
            },
        }

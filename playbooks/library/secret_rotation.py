"""Ansible module: what `make rotate` does with files. New secrets are made beside the old ones, then take their places."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: secret_rotation
short_description: New secrets beside the old ones, until they take their places
description:
  - Below O(folder), C(next) holds the new files of a rotation, C(old) those that they replaced, and C(next/rotation.json) the
    names of the secrets. That file is written first and removed last, so a rotation that was cut off is seen, and goes on by the
    same calls.
  - O(state=planned) changes nothing. It fails where O(what) names no secret, or one that the operator's own variables give.
  - O(state=made) writes that file and the new passwords. Other files are made below C(next) by whoever knows how.
  - O(state=exchanged) keeps each old file below C(old) and moves the new one into its place, one file after the other.
  - O(state=finished) removes C(next) and C(old).
options:
  folder: {description: The folder of secrets., type: path, required: true}
  state: {description: What to do., type: str, choices: [planned, made, exchanged, finished], required: true}
  what: {description: "Names and groups with commas or spaces between them, or all.", type: str, default: all}
  secrets:
    description:
      - Every secret by its name, with C(files), the names of its files in the order in which they take their places.
      - C(group) is a second name for several, C(length) makes it a password, C(keeps) leaves a copy of the old first file in the
        folder for ever, C(own) is false where O(state=planned) refuses it because the operator's own variables give it.
    type: dict
  values:
    description: Values of secrets as the inventory gives them. One that is not in its first file is the operator's own.
    type: dict
  names: {description: "With O(state=exchanged), those that take their places now.", type: list, elements: str, default: []}
author: RetailFlow
attributes:
  check_mode: {support: full, description: Checks and reports.}
"""

EXAMPLES = r"""
- name: Make new passwords
  secret_rotation:
    folder: /srv/shop/secrets
    state: made
    what: postgres
    secrets: {db_admin: {group: postgres, files: [db_admin], length: 32}}
"""

RETURN = r"""
names: {description: "The secrets of this rotation, in the order of O(secrets).", type: list, elements: str, returned: success}
waiting:
  description: Those of which a new file has not taken its place yet.
  type: list
  elements: str
  returned: success
files: {description: New files that have not taken their places yet., type: list, elements: str, returned: success}
kept: {description: Copies of old files that stay., type: list, elements: str, returned: success}
resumed: {description: Whether an earlier run had begun this rotation., type: bool, returned: success}
skipped: {description: "Secrets of the operator's own variables, which C(all) leaves alone.", type: list, returned: success}
"""

LETTERS = string.ascii_letters + string.digits
PARTED = re.compile(r"[\s,]+")


class RotationError(Exception):
    """Nothing can be rotated as it was asked for."""


class Rotation:
    """The files of a rotation."""

    def __init__(
        self, folder: Path, known: dict[str, dict[str, Any]], values: dict[str, Any] | None = None
    ) -> None:
        self.folder = folder
        self.next = folder / "next"
        self.old = folder / "old"
        self.journal = self.next / "rotation.json"
        self.known = known
        self.values = values or {}
        begun = self._begun()
        self.resumed = begun is not None
        self.names: list[str] = begun["names"] if begun else []
        self.moved: list[str] = begun["moved"] if begun else []
        self.kept: list[str] = begun["kept"] if begun else []
        self.skipped: list[str] = []

    def _begun(self) -> dict[str, list[str]] | None:
        """What an earlier run wrote down."""
        try:
            read: dict[str, list[str]] = json.loads(self.journal.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RotationError(
                f"{self.journal} cannot be read ({error}), so what was begun is not known. Remove {self.next} to begin again: "
                "the files beside it are the secrets that count"
            ) from error
        return read

    def plan(self, what: str) -> None:
        """Add what is asked for to what was begun; RotationError where it cannot be."""
        asked = [one for one in PARTED.split(what.replace("-", "_").strip(" ,")) if one]
        groups = {str(one["group"]) for one in self.known.values() if one.get("group")}
        unknown = [one for one in asked if one not in self.known and one not in groups and one != "all"]
        if unknown or not asked:
            raise RotationError(
                f"WHAT={' '.join(unknown)} is no secret of this site. Name some of: all, {', '.join(sorted(groups))} (groups); "
                + ", ".join(name for name, one in self.known.items() if not one.get("fixed"))
            )
        meant = {
            name
            for name, one in self.known.items()
            if "all" in asked or name in asked or one.get("group", "") in asked
        }
        fixed = {name: str(one["fixed"]) for name, one in self.known.items() if one.get("fixed")}
        for name in asked:
            if name in fixed:
                raise RotationError(f"{name} is not rotated: {fixed[name]}")
        meant -= fixed.keys()
        own = [name for name in self.known if name in meant and not self.ours(name)]
        named = [name for name in own if name in asked]
        if named:
            raise RotationError(
                f"{', '.join(named)} is given by your own variables and not by a file in {self.folder}. Change it there, then "
                "run make up"
            )
        self.skipped = own
        meant -= set(own)
        if not meant and not self.names:
            raise RotationError(
                f"{', '.join(own)} are given by your own variables. Change them there, then run make up"
            )
        self.names = [name for name in self.known if name in meant or name in self.names]

    def ours(self, name: str) -> bool:
        """Whether a secret is a file of ours, or will be, and not a value that the operator gave."""
        if str(self.known[name].get("own", True)).lower() == "false":
            return False
        if name not in self.values:
            return True
        try:
            kept = (self.folder / self.known[name]["files"][0]).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return kept.strip() == str(self.values[name]).strip()

    def files(self, names: Iterable[str]) -> list[str]:
        """Return the files of secrets that have not taken their places yet."""
        return [file for name in names for file in self.known[name]["files"] if file not in self.moved]

    @property
    def waiting(self) -> list[str]:
        """The secrets of which a file has not taken its place yet."""
        return [name for name in self.names if self.files([name])]

    def make(self) -> None:
        """Write down what is rotated, then the passwords that are not there yet."""
        self.next.mkdir(mode=0o700, exist_ok=True)
        self.next.chmod(0o700)
        self._keep()
        self._note()
        for name in self.waiting:
            path = self.next / self.known[name]["files"][0]
            if (length := self.known[name].get("length")) and not path.exists():
                write(path, password(int(length)) + "\n")

    def _keep(self) -> None:
        """Copy what is needed for longer than the rotation, under a name that tells it from others."""
        for name in self.waiting:
            file = self.known[name]["files"][0] if self.known[name].get("keeps") else ""
            if file and (self.folder / file).exists():
                text = (self.folder / file).read_text(encoding="utf-8")
                copy = f"{file}.{hashlib.sha256(text.encode()).hexdigest()[:8]}"
                write(self.folder / copy, text)
                self.kept = [*dict.fromkeys([*self.kept, copy])]

    def _note(self) -> None:
        write(self.journal, json.dumps({"names": self.names, "moved": self.moved, "kept": self.kept}) + "\n")

    def exchange(self, names: list[str]) -> list[str]:
        """Let the new files of secrets take their places and return which did; RotationError, before that, if one is missing."""
        due = self.files(names)
        missing = [file for file in due if not (self.next / file).exists() and not self._taken(file)]
        if missing:
            raise RotationError(f"{', '.join(str(self.next / file) for file in missing)}: not made yet")
        self.old.mkdir(mode=0o700, exist_ok=True)
        for file in due:
            new, place, kept = self.next / file, self.folder / file, self.old / file
            if new.exists():
                # A copy first: there is never a moment without a file in this place. Where there was none, the copy is empty.
                if not kept.exists():
                    write(kept, place.read_text(encoding="utf-8") if place.exists() else "")
                new.replace(place)
            self.moved.append(file)
            self._note()
        return due

    def _taken(self, file: str) -> bool:
        """Whether a file took its place in a run that was cut off before it wrote that down."""
        return (self.folder / file).exists() and (self.old / file).exists()

    def finish(self) -> None:
        """Forget the old secrets and that there was a rotation; RotationError where a new one still waits."""
        if self.waiting:
            raise RotationError(f"{', '.join(self.waiting)}: the new one has not taken its place yet")
        remove(self.old)
        remove(self.next, last=self.journal)


def password(length: int) -> str:
    """Letters and digits, of which Metabase wants one of each."""
    while True:
        made = "".join(secrets.choice(LETTERS) for _ in range(length))
        if any(one.isdigit() for one in made) and any(one.isalpha() for one in made):
            return made


def write(path: Path, text: str) -> None:
    """Write a file that nobody else can read, whole or not at all."""
    half = path.with_name(f".{path.name}.half")
    with contextlib.suppress(FileNotFoundError):
        half.unlink()
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)


def remove(folder: Path, last: Path | None = None) -> None:
    """Remove a folder of files, one of them after all others."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir(), key=lambda path: path == last):
        path.unlink()
    folder.rmdir()


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "state": {
                "type": "str",
                "choices": ["planned", "made", "exchanged", "finished"],
                "required": True,
            },
            "what": {"type": "str", "default": "all"},
            "secrets": {"type": "dict", "default": {}, "no_log": False},
            "values": {"type": "dict", "default": {}, "no_log": True},
            "names": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    changed = False
    try:
        rotation = Rotation(Path(given["folder"]), given["secrets"], given["values"])
        if given["state"] in ("planned", "made"):
            rotation.plan(given["what"])
        if given["state"] == "made" and not module.check_mode:
            rotation.make()
            changed = True
        if given["state"] == "exchanged" and not module.check_mode:
            changed = bool(rotation.exchange(given["names"]))
        if given["state"] == "finished" and not module.check_mode:
            rotation.finish()
            changed = True
    except RotationError as error:
        module.fail_json(msg=f"Nothing was changed by this task. {error}.")
    module.exit_json(
        changed=changed,
        names=rotation.names,
        waiting=rotation.waiting,
        files=rotation.files(rotation.names),
        kept=rotation.kept,
        resumed=rotation.resumed,
        skipped=rotation.skipped,
    )


if __name__ == "__main__":
    main()

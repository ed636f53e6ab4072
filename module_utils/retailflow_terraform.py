"""Terraform as guarded_terraform runs it: with a log, a lock that a killed run has left, and imports of what it forgot."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

try:
    import boto3
except ImportError:
    boto3 = None

from ansible.module_utils.retailflow_existing import Existing, Matched

LOG_TAIL_LINES = 25
# A lock as Terraform names it, LockInfo in internal/states/statemgr/locker.go of hashicorp/terraform.
LOCK = re.compile(
    r"Lock Info:.*?ID: +(?P<id>\S+).*?Who: +(?P<who>\S+).*?Created: +(?P<day>\S+) (?P<time>[\d:]+)", re.DOTALL
)
# Terraform takes the lock soon after it was started, and not before.
SOON = timedelta(minutes=2)
# Commands that take the lock of the state.
LOCKING = ("plan", "apply", "state", "untaint")


def running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class Terraform:
    """Calls of one configuration; what they print goes into a log while they run."""

    def __init__(self, binary: str, project: str, log: Path) -> None:
        self.binary, self.project, self.log = binary, project, log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("", encoding="utf-8")
        #: Who works on the state: the process and the time of its start. A run that was killed leaves its line.
        self.note = log.with_name("terraform.pid")

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> int:
        """Run a command; RuntimeError with the end of its log for another exit code.

        A lock of the state that a killed run of this folder has left is removed first: in a bucket it would stay for ever.
        """
        try:
            return self.once(*arguments, codes=codes)
        except RuntimeError as error:
            lock = self.dead_lock(str(error))
            if not lock:
                raise
        self.once("force-unlock", "-force", lock)
        return self.once(*arguments, codes=codes)

    def lines(self) -> list[str]:
        """Return the lines of those who work on the state, or were killed while they did."""
        return self.note.read_text(encoding="utf-8").splitlines() if self.note.exists() else []

    def dead_lock(self, text: str) -> str:
        """Return the id of the lock that a refusal names, if a run of this folder took it that is no longer there."""
        found = LOCK.search(text)
        if not found or found["who"] != f"{getpass.getuser()}@{socket.gethostname()}":
            return ""
        taken = datetime.fromisoformat(f"{found['day']}T{found['time']}").replace(tzinfo=UTC)
        for line in self.lines():
            pid, started = line.split()
            after = taken - datetime.fromtimestamp(int(started), UTC)
            if not running(int(pid)) and timedelta(0) <= after <= SOON:
                return found["id"]
        return ""

    def once(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> int:
        """Run a command; RuntimeError with the end of its log for another exit code."""
        others = self.lines()
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"terraform {arguments[0]}\n")
            log.flush()
            begin = log.tell()
            command = [self.binary, f"-chdir={self.project}", *arguments]
            started = int(time.time())
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
                if arguments[0] in LOCKING:
                    self.note.write_text("\n".join([*others, f"{process.pid} {started}"]), encoding="utf-8")
                code = process.wait()
        if arguments[0] in LOCKING and code in codes:
            self.note.unlink()  # the lock was free
        elif arguments[0] in LOCKING and code >= 0:
            self.note.write_text("\n".join(others), encoding="utf-8")
        if code not in codes:
            with self.log.open(encoding="utf-8") as log:
                log.seek(begin)
                tail = "".join(log.readlines()[-LOG_TAIL_LINES:])
            raise RuntimeError(f"terraform {arguments[0]} failed; its log is {self.log}:\n{tail}")
        return code

    def read(self, *arguments: str) -> Any:
        """Run a command that answers in JSON; RuntimeError with what it says where it fails."""
        command = [self.binary, f"-chdir={self.project}", *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"terraform {arguments[0]} failed: {done.stderr.strip()}")
        return json.loads(done.stdout or "{}")  # there is no state yet

    def managed(self, resources: Iterable[str] | None = None) -> list[str]:
        """Return the addresses of all instances in the state, or of those of some resources."""
        return [
            f"{one['type']}.{one['name']}" + (f'["{each["index_key"]}"]' if "index_key" in each else "")
            for one in self.read("state", "pull").get("resources", [])
            if one["mode"] == "managed" and (resources is None or f"{one['type']}.{one['name']}" in resources)
            for each in one["instances"]
        ]


class Importer:
    """Has Terraform import what AWS holds and the state does not know.

    By blocks in a file of the configuration, so that a plan shows them first: https://developer.hashicorp.com/terraform/language/import
    """

    def __init__(self, terraform: Terraform, tags: dict[str, str], region: str, check_mode: bool) -> None:
        self.terraform, self.tags, self.region, self.check_mode = terraform, tags, region, check_mode
        self.file = Path(terraform.project) / "imports.tf"
        self.imports: dict[str, str] = {}
        self.came_with: dict[str, str] = {}
        self.same_keys: set[str] = set()
        self.matched = Matched()
        self.forget()

    def forget(self) -> None:
        """Remove the blocks, also those that a killed run has left."""
        self.file.unlink(missing_ok=True)

    @staticmethod
    def creates(changes: list[dict[str, Any]]) -> bool:
        """Whether a plan creates something: only then it is worth asking AWS."""
        return any(one["mode"] == "managed" and one["change"]["actions"] == ["create"] for one in changes)

    def found_more(self, changes: list[dict[str, Any]]) -> bool:
        """Look for what a plan would create; whether there is more to import, so that it is to be planned again.

        Once more after each import, because what stands in an imported network is known only then.
        """
        clients = [boto3.client(service, region_name=self.region or None) for service in ("ec2", "iam")]
        self.matched = Existing(*clients, self.tags, changes).look()
        new = {one: found for one, found in self.matched.imports.items() if one not in self.imports}
        self.imports |= new
        self.came_with |= self.matched.came_with
        self.same_keys |= self.matched.same_keys
        if not new:
            self.matched.problems += self.matched.waiting
        if not new or self.matched.problems:
            return False
        # Terraform imports nothing to an address that the state has, even where AWS no longer has what the state means.
        stale = [] if self.check_mode else sorted(new.keys() & set(self.terraform.managed()))
        if stale:
            self.terraform.run("state", "rm", *stale)
        blocks = [
            f"import {{\n  to = {address}\n  id = {json.dumps(found)}\n}}\n"
            for address, found in sorted(self.imports.items())
        ]
        self.file.write_text("".join(blocks), encoding="utf-8")
        return True

    def too_open(self) -> dict[str, str]:
        """Return the rules that came with imported groups and are not planned: ids, each with its group."""
        return {one: group for one, group in self.came_with.items() if one not in self.imports.values()}

    def close(self) -> None:
        """Revoke those rules, as the provider would have done."""
        ec2 = boto3.client("ec2", region_name=self.region or None) if self.too_open() else None
        for one, group in self.too_open().items():
            ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=[one])

    @property
    def lines(self) -> list[str]:
        """What is imported, as a person reads it."""
        return [f"{address} ({found})" for address, found in sorted(self.imports.items())]

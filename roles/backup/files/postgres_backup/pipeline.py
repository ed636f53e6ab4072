"""Programs in a row, and what goes through them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from typing import IO, Any

from .basics import Json, RefusedError

# Only in memory and only while a restore runs: `age` opens it by its number.
IDENTITY = "/proc/self/fd/{}"


class Hashing:
    """A stream that is read once, with the checksum and the size of what went through."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.sha256 = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        block = self.stream.read(size)
        self.sha256.update(block)
        self.size += len(block)
        return block


class Pipeline:
    """Programs of which each reads what the one before writes; `close` raises RefusedError if any of them failed."""

    def __init__(
        self, *commands: list[str], feed: IO[bytes] | int = subprocess.DEVNULL, **options: Any
    ) -> None:
        self.commands = commands
        self.running: list[subprocess.Popen[bytes]] = []
        for command in commands:
            source = self.running[-1].stdout if self.running else feed
            self.running.append(
                subprocess.Popen(
                    command,
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=os.environ | {"LC_ALL": "C"},
                    **options,
                )
            )
            if self.running[:-1]:
                source.close()  # type: ignore[union-attr]

    @property
    def output(self) -> IO[bytes]:
        """What the last one writes."""
        stream = self.running[-1].stdout
        assert stream is not None
        return stream

    def close(self) -> list[str]:
        """Wait for all; return what each wrote to its standard error."""
        said = []
        for one in self.running:
            assert one.stderr is not None
            said.append(one.stderr.read().decode(errors="replace"))
        failed = [
            f"{command[0]}: {' '.join(text.split())[-300:] or 'no reason given'}"
            for command, one, text in zip(self.commands, self.running, said, strict=True)
            if one.wait() != 0
        ]
        if failed:
            raise RefusedError("; ".join(failed))
        return said


def seal(recipient: str) -> list[list[str]]:
    """The programs that compress and encrypt."""
    return [["gzip", "-1"], ["age", "-r", recipient]]


def unseal(identities: list[str]) -> list[list[str]]:
    """The programs that decrypt and decompress, with the paths of the keys, of which age takes the one that fits."""
    return [["age", "-d", *(part for path in identities for part in ("-i", path))], ["gzip", "-d"]]


@contextlib.contextmanager
def secret(text: str) -> Iterator[tuple[list[str], Json]]:
    """Files in memory alone, one per key, as the paths and the options with which a program that is started sees them."""
    with contextlib.ExitStack() as opened:
        numbers = []
        for key in keys(text):
            number = os.memfd_create("identity")
            opened.callback(os.close, number)
            os.write(number, key.encode())
            os.set_inheritable(number, True)
            numbers.append(number)
        yield [IDENTITY.format(number) for number in numbers], {"pass_fds": tuple(numbers)}


def keys(text: str) -> list[str]:
    """The private keys of a text, each with the line that ends it; what is between them is left out."""
    found = re.findall(r"-----BEGIN [A-Z ]+-----\n.*?\n-----END [A-Z ]+-----", text, re.DOTALL)
    return [f"{key}\n" for key in found] or [text.rstrip("\n") + "\n"]

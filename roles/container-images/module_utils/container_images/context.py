"""Images, what their build contexts hold, the hash of it, and the order in which they are built."""

from __future__ import annotations

import fnmatch
import graphlib
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ImageError

# Part of every hash: raise it when the way of building changes.
BUILDER_VERSION = "1"
CACHE_PATTERNS = (
    "__pycache__",
    "*.pyc",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".hypothesis",
    "*.egg-info",
    ".git",
    ".DS_Store",
)


@dataclass(frozen=True)
class Image:
    """One image of the list; paths are relative to the root."""

    name: str
    dockerfile: str
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    base: str | None = None
    args: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Image:
        """Make an image of the module's options."""
        return cls(
            name=raw["name"],
            dockerfile=raw["dockerfile"],
            paths=tuple(raw.get("paths") or ()),
            exclude=tuple(raw.get("exclude") or ()),
            base=raw.get("base") or None,
            args=tuple(sorted((key, str(value)) for key, value in (raw.get("args") or {}).items())),
        )


def _excluded(relative: str, patterns: Iterable[str]) -> bool:
    name = relative.rsplit("/", 1)[-1]
    return any(fnmatch.fnmatch(name, one) or fnmatch.fnmatch(relative, one) for one in patterns)


def _walk(root: Path, relative: str, patterns: tuple[str, ...]) -> Iterator[str]:
    path = root / relative
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            below = f"{relative}/{child.name}"
            if not _excluded(below, patterns):
                yield from _walk(root, below, patterns)
    else:
        yield relative


def context_files(root: Path, image: Image) -> list[str]:
    """List the files of an image's build context, sorted, without caches and excluded paths.

    Raises ImageError where a path does not exist.
    """
    patterns = CACHE_PATTERNS + image.exclude
    files: set[str] = set()
    for given in (image.dockerfile, *image.paths):
        relative = os.path.normpath(given)
        if relative.startswith(("/", "..")):
            raise ImageError(f"image {image.name}: {given} is not below {root}")
        if not os.path.lexists(root / relative):
            raise ImageError(f"image {image.name}: {root / relative} does not exist")
        files.update(_walk(root, relative, patterns))
    return sorted(files)


def _entry(path: Path) -> tuple[str, bytes]:
    """Return kind-and-mode and bytes of a file; only the execute bit counts, as in git."""
    if path.is_symlink():
        return "link", os.readlink(path).encode()
    mode = "755" if path.stat().st_mode & stat.S_IXUSR else "644"
    return mode, path.read_bytes()


def content_hash(root: Path, image: Image, base_identity: str) -> str:
    """Hash everything that decides an image's content; 12 hexadecimal digits."""
    digest = hashlib.sha256()

    def add(part: str | bytes) -> None:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(raw)}:".encode() + raw)

    for part in ("builder", BUILDER_VERSION, "dockerfile", image.dockerfile, "base", base_identity):
        add(part)
    for key, value in image.args:
        add(f"arg {key}")
        add(value)
    for relative in context_files(root, image):
        mode, content = _entry(root / relative)
        add(f"file {mode} {relative}")
        add(content)
    return digest.hexdigest()[:12]


def write_context(root: Path, image: Image, target: io.BufferedRandom) -> None:
    """Write the build context as a tar file whose bytes depend on the content alone."""
    with tarfile.open(fileobj=target, mode="w") as tar:
        for relative in context_files(root, image):
            mode, content = _entry(root / relative)
            info = tarfile.TarInfo(relative)
            if mode == "link":
                info.type, info.linkname = tarfile.SYMTYPE, content.decode()
                tar.addfile(info)
            else:
                info.mode, info.size = int(mode, 8), len(content)
                tar.addfile(info, io.BytesIO(content))
    target.seek(0)


def build_order(images: list[Image]) -> graphlib.TopologicalSorter[str]:
    """Return a prepared sorter over the names, bases first; raises ImageError for cycles and duplicates."""
    names = [image.name for image in images]
    for name in names:
        if names.count(name) > 1:
            raise ImageError(f"image {name} is listed twice")
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for image in images:
        sorter.add(image.name, *([image.base] if image.base in names else []))
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise ImageError(f"images are each other's base: {' -> '.join(error.args[1])}") from error
    return sorter


def needed_images(images: list[Image], names: Iterable[str]) -> list[Image]:
    """Return the named images and what they are built on, in the order of the list; ImageError for unknown names."""
    by_name = {image.name: image for image in images}
    waiting, needed = list(names), set()
    for name in waiting:
        if name not in by_name:
            raise ImageError(f"image {name} is not in the list, which has {', '.join(by_name)}")
    while waiting:
        name = waiting.pop()
        base = by_name[name].base
        if name not in needed and base in by_name:
            waiting.append(base)
        needed.add(name)
    return [image for image in images if image.name in needed]

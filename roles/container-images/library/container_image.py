"""Ansible module: build container images whose tags are hashes of their content, and push them."""

from __future__ import annotations

import base64
import concurrent.futures
import fnmatch
import graphlib
import hashlib
import http.client
import io
import json
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    import docker
    from docker.errors import APIError, DockerException, ImageNotFound
except ImportError:
    docker = None

DOCUMENTATION = r"""
---
module: container_image
short_description: Build container images tagged by content, and push them
description:
  - Computes a hash over everything that goes into an image and uses it as the tag, so that an image is built
    exactly when no image of that content exists.
  - Images that do not depend on each other are built two at a time.
  - What a named image is built on is built too, and is not pushed.
options:
  images:
    description: The images, each with C(name), C(dockerfile), C(paths), C(exclude), C(base) and C(args).
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name within the namespace., type: str, required: true}
      dockerfile: {description: Path of the Dockerfile below the root., type: str, required: true}
      paths: {description: Files and folders of the build context., type: list, elements: str, default: []}
      exclude: {description: Patterns of paths to leave out., type: list, elements: str, default: []}
      base: {description: "Another image of the list, or any image of the engine: the build argument BASE.", type: str}
      args: {description: More build arguments., type: dict, default: {}}
  names: {description: Names of the images that are needed; empty means all., type: list, elements: str, default: []}
  root: {description: Folder to which all paths are relative., type: path, required: true}
  namespace: {description: First part of every image name., type: str, required: true}
  labels: {description: Labels of every image., type: dict, default: {}}
  push: {description: Registry as this machine sees it; empty pushes nothing., type: str, default: ""}
  login:
    description: Login of that registry, with C(username) and C(password). With one it is spoken to by TLS.
    type: dict
    default: {}
  reference_registry: {description: The same registry as the hosts see it., type: str, default: ""}
  result_file: {description: JSON file that maps names to references., type: path, required: true}
  log_dir: {description: Folder for the build logs., type: path, required: true}
  timeout: {description: Seconds that one call of the engine may stay silent., type: int, default: 1800}
requirements: [docker]
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be built.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: Build two images, the second on the first
  container_image:
    root: /src
    namespace: shop
    images:
      - {name: python, dockerfile: images/python/Dockerfile, base: "debian:bookworm-slim"}
      - {name: api, dockerfile: api/Dockerfile, paths: [api/src], base: python}
    result_file: /src/.state/images.json
    log_dir: /src/.state/logs
"""

RETURN = r"""
references: {description: Name to reference of the images that are needed., type: dict, returned: success}
built: {description: Names that were built., type: list, returned: success}
pushed: {description: Names that were pushed., type: list, returned: success}
"""

# Part of every hash: raise it when the way of building changes.
BUILDER_VERSION = "1"
WORKERS = 2
LOG_TAIL_LINES = 30
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
MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
)


class ImageError(Exception):
    """What went wrong with an image, in words for the person who runs the play."""


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


@dataclass
class Outcome:
    """What was done, or in check mode would be done, for one image."""

    reference: str
    actions: list[str] = field(default_factory=list)


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


def in_registry(registry: str, repository: str, tag: str, login: dict[str, str]) -> bool:
    """Ask a registry whether it has a tag, by TLS where there is a login; ImageError when it does not answer."""
    headers = {"Accept": MANIFEST_TYPES}
    connection = http.client.HTTPConnection(registry, timeout=10)
    if login:
        connection = http.client.HTTPSConnection(registry, timeout=10)
        pair = base64.b64encode(f"{login['username']}:{login['password']}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    try:
        connection.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers=headers)
        status = connection.getresponse().status
    except OSError as error:
        raise ImageError(f"the registry at {registry} does not answer: {error}") from error
    finally:
        connection.close()
    if status not in (200, 404):
        raise ImageError(f"the registry at {registry} answered {status} for {repository}:{tag}")
    return status == 200


class Builder:
    """Builds and pushes images with one engine; safe for a few threads."""

    def __init__(self, client: Any, params: dict[str, Any], check_mode: bool) -> None:
        self.client = client
        self.root = Path(params["root"])
        self.namespace: str = params["namespace"]
        self.labels = {key: str(value) for key, value in params["labels"].items()}
        self.push: str = params["push"]
        self.login: dict[str, str] = params.get("login") or {}
        self.reference_registry: str = params["reference_registry"]
        self.log_dir = Path(params["log_dir"])
        self.check_mode = check_mode
        listed = [Image.from_dict(raw) for raw in params["images"]]
        self.names = set(params.get("names") or (image.name for image in listed))
        self.images = needed_images(listed, sorted(self.names))
        self.hashes: dict[str, str] = {}
        self.outcomes: dict[str, Outcome] = {}

    def run(self) -> dict[str, Outcome]:
        """Bring all images up to date, bases first; the first failure stops what has not begun."""
        by_name = {image.name: image for image in self.images}
        order = build_order(self.images)
        running: dict[concurrent.futures.Future[Outcome], str] = {}
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            try:
                while order.is_active():
                    for name in order.get_ready():
                        running[pool.submit(self.reconcile, by_name[name])] = name
                    done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        name = running.pop(future)
                        self.outcomes[name] = future.result()
                        order.done(name)
            finally:
                for future in running:
                    future.cancel()
        return self.outcomes

    def reconcile(self, image: Image) -> Outcome:
        """Build, tag and push one image as far as that is needed."""
        repository = f"{self.namespace}/{image.name}"
        base, identity = self.resolve_base(image)
        tag = content_hash(self.root, image, identity)
        self.hashes[image.name] = tag
        built = f"{repository}:{tag}"
        needed = image.name in self.names
        prefix = f"{self.reference_registry}/" if self.reference_registry and needed else ""
        outcome = Outcome(reference=f"{prefix}{built}")

        image_id = self.image_id(built)
        if image_id is None:
            outcome.actions.append("built")
            if not self.check_mode:
                self.build(image, built, base)
                image_id = self.image_id(built)
        if image_id is None or self.image_id(f"{repository}:latest") != image_id:
            outcome.actions.append("tagged")
            if not self.check_mode:
                self.client.api.tag(built, repository, "latest", force=True)
        if self.push and needed and not in_registry(self.push, repository, tag, self.login):
            outcome.actions.append("pushed")
            if not self.check_mode:
                self.push_image(built, repository, tag)
        return outcome

    def resolve_base(self, image: Image) -> tuple[str | None, str]:
        """Return the reference for the argument BASE and what identifies its content."""
        if image.base is None:
            return None, ""
        if image.base in self.hashes:
            tag = self.hashes[image.base]
            return f"{self.namespace}/{image.base}:{tag}", tag
        identity = self.image_id(image.base)
        if identity is None and not self.check_mode:
            raise ImageError(
                f"image {image.name}: its base {image.base} is neither in the list nor on this engine; "
                "build or pull it first"
            )
        return image.base, identity or "absent"

    def image_id(self, reference: str) -> str | None:
        """Return the id of a local image, or None."""
        try:
            return str(self.client.api.inspect_image(reference)["Id"])
        except ImageNotFound:
            return None

    def build(self, image: Image, reference: str, base: str | None) -> None:
        """Build one image; its log goes to a file, whose end is in the error."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        log_path = self.log_dir / f"build-{image.name}.log"
        arguments = dict(image.args) | ({"BASE": base} if base else {})
        with tempfile.TemporaryFile() as context, log_path.open("w", encoding="utf-8", buffering=1) as log:
            write_context(self.root, image, context)
            events = self.client.api.build(
                fileobj=context,
                custom_context=True,
                dockerfile=image.dockerfile,
                tag=reference,
                labels=self.labels,
                buildargs=arguments,
                network_mode="host",
                rm=True,
                forcerm=True,
                decode=True,
            )
            error = ""
            for event in events:
                log.write(event.get("stream", "") or event.get("error", ""))
                error = event.get("error", error)
        if error:
            tail = log_path.read_text(encoding="utf-8").splitlines()[-LOG_TAIL_LINES:]
            raise ImageError(
                f"image {image.name}: {error}\nThe last lines of {log_path}:\n" + "\n".join(tail)
            )

    def push_image(self, built: str, repository: str, tag: str) -> None:
        """Push one image; the engine's tag for the registry lives only as long as the push."""
        remote = f"{self.push}/{repository}"
        self.client.api.tag(built, remote, tag, force=True)
        try:
            login = {"auth_config": self.login} if self.login else {}
            for event in self.client.api.push(remote, tag=tag, stream=True, decode=True, **login):
                if "error" in event:
                    raise ImageError(f"pushing {built} to {self.push} failed: {event['error']}")
        finally:
            self.client.api.remove_image(f"{remote}:{tag}", noprune=True)


def write_result(path: Path, references: dict[str, str], check_mode: bool) -> bool:
    """Write the mapping atomically; return whether the file differed."""
    text = json.dumps(references, indent=2, sort_keys=True) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    if not check_mode:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    return True


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "images": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "dockerfile": {"type": "str", "required": True},
                    "paths": {"type": "list", "elements": "str", "default": []},
                    "exclude": {"type": "list", "elements": "str", "default": []},
                    "base": {"type": "str"},
                    "args": {"type": "dict", "default": {}},
                },
            },
            "names": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "path", "required": True},
            "namespace": {"type": "str", "required": True},
            "labels": {"type": "dict", "default": {}},
            "push": {"type": "str", "default": ""},
            "login": {"type": "dict", "default": {}, "no_log": True},
            "reference_registry": {"type": "str", "default": ""},
            "result_file": {"type": "path", "required": True},
            "log_dir": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    if docker is None:
        module.fail_json(
            msg="The Python package docker is missing on the control node; see requirements.txt."
        )
    try:
        client = docker.from_env(timeout=module.params["timeout"])
        builder = Builder(client, module.params, module.check_mode)
        outcomes = builder.run()
        references = {name: outcomes[name].reference for name in sorted(builder.names)}
        written = write_result(Path(module.params["result_file"]), references, module.check_mode)
    except (ImageError, APIError) as error:
        module.fail_json(msg=str(error))
    except DockerException as error:
        module.fail_json(msg=f"The Docker engine of the control node does not answer: {error}")
    done = {
        action: [name for name, outcome in outcomes.items() if action in outcome.actions]
        for action in ("built", "tagged", "pushed")
    }
    module.exit_json(changed=written or any(done.values()), references=references, **done)


if __name__ == "__main__":
    main()

"""Builds, tags and pushes what is needed."""

from __future__ import annotations

import concurrent.futures
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    from docker.errors import ImageNotFound
except ImportError:
    ImageNotFound = Exception

from .context import Image, build_order, content_hash, needed_images, write_context
from .errors import ImageError
from .registry import in_registry

WORKERS = 2
LOG_TAIL_LINES = 30


def base_identity(base: str, found: dict[str, Any], namespace: str) -> str:
    """Return what stands for a base in the tags of what is built on it.

    For one that was pulled, that is its name: two people who pulled it at different times would otherwise push one image under
    two tags and replace each other's for ever. A newer base is chosen in the inventory, by its tag or digest. One that was made
    on this machine, as those of the namespace are, is its content.
    """
    repository = base.partition("@")[0]
    if ":" in repository.rsplit("/", 1)[-1]:
        repository = repository.rpartition(":")[0]
    pulled = any(digest.partition("@")[0] == repository for digest in found.get("RepoDigests") or [])
    return base if pulled and not base.startswith(f"{namespace}/") else str(found["Id"])


@dataclass
class Outcome:
    """What was done, or in check mode would be done, for one image."""

    reference: str
    actions: list[str] = field(default_factory=list)


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
        if image_id is None and (same := self.elsewhere(image.name, tag)):
            image_id = same
            outcome.actions.append("tagged")
            if not self.check_mode:
                self.client.api.tag(same, repository, tag, force=True)
        if image_id is None:
            outcome.actions.append("built")
            if not self.check_mode:
                self.build(image, built, base)
                image_id = self.image_id(built)
        if image_id is None or self.image_id(f"{repository}:latest") != image_id:
            outcome.actions = list(dict.fromkeys([*outcome.actions, "tagged"]))
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
        found = self.inspect(image.base)
        if found is None and not self.check_mode:
            raise ImageError(
                f"image {image.name}: its base {image.base} is neither in the list nor on this engine; "
                "build or pull it first"
            )
        return image.base, base_identity(image.base, found or {"Id": "absent"}, self.namespace)

    def inspect(self, reference: str) -> dict[str, Any] | None:
        """Return what the engine knows of a local image, or None."""
        try:
            found: dict[str, Any] = self.client.api.inspect_image(reference)
        except ImageNotFound:
            return None
        return found

    def image_id(self, reference: str) -> str | None:
        """Return the id of a local image, or None."""
        found = self.inspect(reference)
        return None if found is None else str(found["Id"])

    def elsewhere(self, name: str, tag: str) -> str | None:
        """Return the id of an image of the same content in another namespace: that of another site on this machine."""
        if not self.labels:
            return None
        found = self.client.api.images(name=f"*/{name}:{tag}", filters={"label": list(self.labels)})
        return str(found[0]["Id"]) if found else None

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

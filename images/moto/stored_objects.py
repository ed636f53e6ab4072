"""S3 keeps its buckets and objects over a restart; moto has them in memory alone.

`EMULATED_AWS_OBJECTS` is a folder that holds one per bucket: its settings, and a file per version of an object. The files are
pickles of moto's own records, which this server alone writes. Without the variable nothing is kept.

Not kept: uploads in parts that are not complete yet, and what is changed of an object after it was written (tags, access lists).
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moto.s3.models import FakeBucket, MultipartDict, s3_backends
from moto.s3.responses import S3Response
from moto.s3.utils import _VersionedKeyStore

_lock = threading.Lock()
_READING = ("GET", "HEAD", "OPTIONS")


def write(path: Path, content: Any) -> None:
    """Replace a file whole, and be sure that it is on the disk."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        pickle.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def name_of(key: str, version: Any) -> str:
    """The name of the file of a version, which is never written again."""
    text = f"{key}\0{version.version_id}\0{version.last_modified.timestamp()}"
    return f"{hashlib.sha256(text.encode()).hexdigest()}.object"


def keep(folder: Path, bucket: FakeBucket) -> None:
    """Bring a bucket's folder in line with what the server has."""
    own = folder / bucket.name
    own.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in vars(bucket).items() if name not in ("keys", "multiparts")}
    tagger = s3_backends[bucket.account_id][bucket.partition].tagger
    write(own / "bucket.settings", (settings, tagger.get_tag_dict_for_resource(bucket.arn)))
    gone = {one.name for one in own.glob("*.object")}
    for key, versions in bucket.keys.lists():
        for version in versions:
            file = name_of(key, version)
            if file not in gone:
                parts, version.multipart = getattr(version, "multipart", None), None
                write(own / file, (key, version))
                version.multipart = parts
            gone.discard(file)
    for file in gone:
        (own / file).unlink()


def forget(folder: Path, name: str) -> None:
    """Remove the folder of a bucket that was removed, which was empty."""
    for one in (folder / name).glob("*"):
        one.unlink()
    if (folder / name).is_dir():
        (folder / name).rmdir()


def load(folder: Path) -> None:
    """Make the buckets again that the folder holds."""
    for path in sorted(folder.glob("*/bucket.settings")):
        settings, tags = pickle.loads(path.read_bytes())
        bucket = FakeBucket(settings["name"], settings["account_id"], settings["region_name"])
        vars(bucket).update(settings)
        bucket.keys, bucket.multiparts = _VersionedKeyStore(), MultipartDict()
        versions = [pickle.loads(one.read_bytes()) for one in path.parent.glob("*.object")]
        for key, version in sorted(versions, key=lambda one: one[1].last_modified):
            bucket.keys[key] = version
        backend = s3_backends[bucket.account_id][bucket.partition]
        backend.buckets[bucket.name] = bucket
        if tags:
            backend.tagger.tag_resource(
                bucket.arn, [{"Key": name, "Value": value} for name, value in tags.items()]
            )


def kept(folder: Path, handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler of a request, after which the folder holds what it changed."""

    @functools.wraps(handler)
    def handle(self: Any, request: Any, full_url: str, headers: Any) -> Any:
        answer = handler(self, request, full_url, headers)
        name = self.parse_bucket_name_from_url(request, full_url)
        if name and request.method not in _READING and answer[0] < 300:
            with _lock:
                bucket = self.backend.buckets.get(name)
                if bucket:
                    keep(folder, bucket)
                else:
                    forget(folder, name)
        return answer

    return handle


def install() -> None:
    """Load what is kept and put this around moto's own handlers."""
    folder = os.environ.get("EMULATED_AWS_OBJECTS")
    if not folder:
        return
    load(Path(folder))
    for name in ("bucket_response", "key_response"):
        setattr(S3Response, name, kept(Path(folder), getattr(S3Response, name)))

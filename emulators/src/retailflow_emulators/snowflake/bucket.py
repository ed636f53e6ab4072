"""The bucket of the stages over HTTP: files come and go at the addresses that PUT and GET were given."""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path

from fakesnow.transforms.stage import LOCAL_BUCKET_PATH
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from . import stages


def _may_touch(request: Request) -> bool:
    """Whether the address of a file was given by PUT or GET, and not guessed."""
    given = request.query_params.get("X-Goog-Signature", "")
    return secrets.compare_digest(given, stages.signature(request.path_params["path"]))


def _file(request: Request) -> Path | None:
    """The file in the bucket that an address names, None for one outside of it."""
    bucket = Path(LOCAL_BUCKET_PATH).resolve()
    file = (bucket / request.path_params["path"]).resolve()
    return file if bucket in file.parents else None


async def receive_file(request: Request) -> Response:
    """A file for a stage, at the address that PUT was given."""
    if not _may_touch(request):
        return Response(status_code=403)
    file = _file(request)
    if file is None:
        return Response(status_code=400)
    file.parent.mkdir(parents=True, exist_ok=True)
    arriving = Path(LOCAL_BUCKET_PATH) / f".{uuid.uuid4()}"  # in no stage
    try:
        with arriving.open("wb") as target:
            async for part in request.stream():
                await run_in_threadpool(target.write, part)
        arriving.replace(file)
    finally:
        arriving.unlink(missing_ok=True)
    return Response()


async def send_file(request: Request) -> Response:
    """A file of a stage, at the address that GET was given."""
    if not _may_touch(request):
        return Response(status_code=403)
    file = _file(request)
    if file is None or not file.is_file():
        return Response(status_code=404)
    return FileResponse(file)

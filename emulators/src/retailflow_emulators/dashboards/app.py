"""The ASGI application and the server that runs it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence

import uvicorn
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ..web.bounds import BodyError, Bound, Bounded
from ..web.serving import configuration
from . import api, encryption, pages
from .calls import error_response
from .errors import ApiError
from .service import Service
from .settings import Settings
from .store import Store
from .vault import WrongKeyError
from .warehouse import Snowflake, Warehouse

log = logging.getLogger("retailflow.dashboards")

NAME = "embedded dashboard server, not Metabase"
MAX_BODY = Bound(1_000_000)
DATABASE_PATIENCE = 60  # seconds to wait for the application database at start


def build_app(settings: Settings, store: Store, warehouse: Warehouse) -> Starlette:
    """The application; WrongKeyError when the stored secrets need another key."""
    encryption.ensure(store, settings.encryption_key)
    service = Service(settings, store, warehouse)

    def not_found(request: Request, error: Exception) -> Response:
        of_a_page = "" if request.url.path.startswith("/api/") else f" This is the {NAME}."
        return PlainTextResponse("Not found." + of_a_page, 404)

    def not_read(_: Request, error: Exception) -> Response:
        assert isinstance(error, BodyError)
        return error_response(ApiError(error.status, str(error)))

    return Starlette(
        routes=[*api.routes(service), *pages.routes(service)],
        middleware=[Middleware(Bounded, bound=lambda _: MAX_BODY)],
        exception_handlers={404: not_found, BodyError: not_read},
    )


def open_store(settings: Settings, patience: float = DATABASE_PATIENCE) -> Store:
    """The store, once its database answers; OperationalError after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return Store(settings.database_url)
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise
            log.warning("waiting for the application database: %s", str(error.orig).strip())
            time.sleep(2)


def rotate(settings: Settings, store: Store, arguments: list[str]) -> int:
    """Metabase's command `rotate-encryption-key`: 0 when every secret has the new key, else 1 and nothing changed."""
    if len(arguments) != 2 or arguments[0] != "rotate-encryption-key":
        log.error("not emulated: the command %s; rotate-encryption-key KEY is", " ".join(arguments[:1]))
        return 1
    try:
        encryption.rotate(store, settings.encryption_key, arguments[1])
    except (WrongKeyError, ValueError) as error:
        log.error("ERROR ROTATING KEY: %s", error)
        return 1
    log.info("Encryption key rotation complete.")
    return 0


def main(arguments: Sequence[str] = ()) -> int:
    """Serve until SIGTERM, or run a command; 0 after a clean stop, 1 without its database, 2 on bad configuration."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("snowflake.connector").setLevel(logging.WARNING)
    try:
        settings = Settings.from_env(os.environ)
    except ValueError as error:
        log.error("%s", error)
        return 2
    try:
        store = open_store(settings)
    except OperationalError as error:
        log.error("the application database cannot be used: %s", str(error.orig).strip())
        return 1
    if arguments:
        return rotate(settings, store, list(arguments))
    try:
        app = build_app(settings, store, Snowflake(settings.connection_seconds, settings.query_seconds))
    except WrongKeyError as error:
        log.error("%s; start with the key that the state was written with", error)
        return 2
    if not settings.encryption_key:
        log.warning("MB_ENCRYPTION_SECRET_KEY is not set: secrets of databases are stored as given")
    log.info("%s: on http://%s:%d", NAME, settings.host, settings.port)
    uvicorn.Server(configuration(app, settings.host, settings.port)).run()
    store.close()
    return 0

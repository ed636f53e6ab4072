"""The connections to the warehouse, and queries of it."""

from __future__ import annotations

import logging
import threading
import time

from . import models
from .errors import ApiError
from .queries import Values, bind
from .records import Records, changes, given, now
from .store import Document
from .vault import Vault, mask, unmask
from .warehouse import Result, Warehouse, WarehouseError

log = logging.getLogger("retailflow.dashboards")


class Databases:
    """Connections with their secrets sealed; every refusal is an ApiError."""

    def __init__(self, records: Records, vault: Vault, warehouse: Warehouse) -> None:
        """WrongKeyError when stored secrets cannot be decrypted with the key of ``vault``."""
        self._records, self._vault, self._warehouse = records, vault, warehouse
        for database in records.store.all("database"):
            vault.open(database["details"])

    def all(self) -> list[Document]:
        """All databases, secrets masked, without their tables."""
        return [self._public(document) for document in self._records.store.all("database")]

    def get(self, identity: int, with_tables: bool = False) -> Document:
        """One database, secrets masked."""
        return self._public(self._records.find("database", identity), with_tables)

    def add(self, body: models.NewDatabase) -> Document:
        """Connect to a new database and start its first sync."""
        self._check(body.details)
        document = {
            **given(body),
            "details": self._vault.seal(body.details),
            "initial_sync_status": "incomplete",
            "tables": [],
            "created_at": now(),
        }
        return self._public(self._records.added("database", document))

    def update(self, identity: int, body: models.DatabaseUpdate) -> Document:
        """Change a database, if its new details connect; masked secrets keep their stored value."""
        stored = self._records.find("database", identity)
        changed = changes(body)
        if body.details is not None:
            details = unmask(body.details, self._vault.open(stored["details"]))
            self._check(details)
            changed["details"] = self._vault.seal(details)
        return self._public(self._records.store.update("database", identity, lambda old: {**old, **changed}))

    def sync(self, identity: int) -> None:
        """Read the names of tables in the background; `initial_sync_status` tells when it is done."""
        details = self._vault.open(self._records.find("database", identity)["details"])

        def read() -> None:
            try:
                outcome: Document = {
                    "tables": self._warehouse.tables(details),
                    "initial_sync_status": "complete",
                }
            except WarehouseError as error:
                log.warning("sync of database %d failed: %s", identity, error)
                outcome = {"initial_sync_status": "aborted"}
            self._records.store.update("database", identity, lambda old: {**old, **outcome})

        self._records.store.update(
            "database", identity, lambda old: {**old, "initial_sync_status": "incomplete"}
        )
        threading.Thread(target=read, name=f"sync-{identity}", daemon=True).start()

    def _public(self, document: Document, with_tables: bool = False) -> Document:
        hidden = () if with_tables else ("tables",)
        public = {name: value for name, value in document.items() if name not in hidden}
        return {**public, "details": mask(document["details"])}

    def _check(self, details: Document) -> None:
        try:
            self._warehouse.check(details)
        except WarehouseError as error:
            raise ApiError(400, str(error), {error.field: str(error)}) from error

    def run(self, query: Document, values: Values, limit: int) -> Result:
        """Run a native query with values of its variables; WarehouseError says why it did not work."""
        details = self._vault.open(self._records.find("database", query["database"])["details"])
        sql, bound = bind(query["stages"][0], values)
        started = time.monotonic()
        result = self._warehouse.query(details, sql, limit, bound)
        log.info("a query: %d rows in %.2f s", len(result.rows), time.monotonic() - started)
        return result

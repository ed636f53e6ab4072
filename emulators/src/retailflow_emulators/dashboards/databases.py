"""The connections to the warehouse, and queries of it."""

from __future__ import annotations

import logging
import threading
import time

from . import answers, models
from .errors import ApiError
from .metadata import Metadata
from .queries import Values, bind
from .records import Records, changes, given
from .store import Document
from .vault import Vault, mask, unmask
from .warehouse import Result, Warehouse, WarehouseError

log = logging.getLogger("retailflow.dashboards")


class Databases:
    """Connections with their secrets sealed; every refusal is an ApiError."""

    def __init__(self, records: Records, vault: Vault, warehouse: Warehouse) -> None:
        """WrongKeyError when stored secrets cannot be decrypted with the key of ``vault``."""
        self._records, self._vault, self._warehouse = records, vault, warehouse
        self.metadata = Metadata(records)
        known = records.store.all("database")
        for database in known:
            vault.open(database["details"])
        for database in known:
            if "tables" in database:  # an earlier release kept their names alone
                self.sync(database["id"])

    def all(self, include: str = "") -> list[Document]:
        """All databases, secrets masked; ``include`` of ``tables`` adds those."""
        return [self._answer(document, include) for document in self._records.store.all("database")]

    def get(self, identity: int, include: str = "") -> Document:
        """One database, secrets masked; ``include`` of ``tables`` or ``tables.fields`` adds those."""
        return self._answer(self._records.find("database", identity), include)

    def schemas(self, identity: int) -> list[str]:
        """The schemas that hold a table."""
        self._records.find("database", identity)
        return sorted({one["schema"] for one in self.metadata.tables(identity)})

    def tables_of(self, identity: int, schema: str) -> list[Document]:
        """The tables of a schema; ApiError 404 where it holds none."""
        if schema not in self.schemas(identity):
            raise ApiError(404, "Not found.")
        return [one for one in self.metadata.tables(identity) if one["schema"] == schema]

    def add(self, body: models.NewDatabase, creator_id: int) -> Document:
        """Connect to a new database and start its first sync."""
        self._check(body.details)
        document = {
            **given(body),
            "details": self._vault.seal(body.details),
            "initial_sync_status": "incomplete",
            "creator_id": creator_id,
        }
        return self._answer(self._records.added("database", document))

    def update(self, identity: int, body: models.DatabaseUpdate) -> Document:
        """Change a database, if its new details connect; masked secrets keep their stored value."""
        stored = self._records.find("database", identity)
        changed = changes(body)
        if body.details is not None:
            details = unmask(body.details, self._vault.open(stored["details"]))
            self._check(details)
            changed["details"] = self._vault.seal(details)
        return self._answer(self._records.changed("database", identity, changed))

    def sync(self, identity: int) -> None:
        """Read the tables and their columns in the background; `initial_sync_status` says when it is done."""
        details = self._vault.open(self._records.find("database", identity)["details"])

        def read() -> None:
            status = "complete"
            try:
                self.metadata.synced(identity, self._warehouse.tables(details))
            except WarehouseError as error:
                log.warning("sync of database %d failed: %s", identity, error)
                status = "aborted"
            self._records.store.update("database", identity, lambda old: _synced(old, status))

        self._records.store.update("database", identity, lambda old: _synced(old, "incomplete"))
        threading.Thread(target=read, name=f"sync-{identity}", daemon=True).start()

    def _answer(self, document: Document, include: str = "") -> Document:
        public = answers.database({**document, "details": mask(document["details"])})
        if include:
            tables = self.metadata.tables(document["id"])
            if include == "tables.fields":
                tables = [self.metadata.with_fields(one["id"]) for one in tables]
            public["tables"] = tables
        return public

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


def _synced(document: Document, status: str) -> Document:
    kept = {name: value for name, value in document.items() if name != "tables"}
    return {**kept, "initial_sync_status": status}

"""What the server knows and does, without HTTP: accounts, permissions, databases, collections, cards, dashboards."""

from __future__ import annotations

from .accounts import Accounts
from .answers import Answers
from .boards import Dashboards
from .content import Cards, Collections
from .databases import Databases
from .groups import Groups
from .permissions import Permissions
from .records import Records
from .settings import Settings
from .store import Store
from .vault import Vault
from .warehouse import Warehouse


class Service:
    """The operations behind the API and the pages, by what they are about; every refusal is an ApiError."""

    def __init__(self, settings: Settings, store: Store, warehouse: Warehouse) -> None:
        """WrongKeyError when stored secrets cannot be decrypted with the key of ``settings``."""
        self.records = records = Records(store)
        self.answers = Answers(records)
        self.permissions = Permissions(store)
        self.accounts = Accounts(settings, records)
        self.groups = Groups(records, self.permissions)
        self.databases = Databases(records, Vault(settings.encryption_key), warehouse)
        self.collections = Collections(records)
        self.cards = Cards(records, self.databases)
        self.dashboards = Dashboards(records, self.cards, self.permissions, self.answers)

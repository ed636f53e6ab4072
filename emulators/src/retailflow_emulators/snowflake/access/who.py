"""The roles of a session, and the errors of one that may not do what it asks for.

Wording and codes: https://github.com/dbt-labs/dbt-snowflake/issues and https://github.com/snowflakedb/terraform-provider-snowflake/issues
quote them (002003, 002043, 003001), https://github.com/littleK0i/SnowDDL/issues/179 quotes 003102.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from snowflake.connector.errors import ProgrammingError

from ..errors import sql_error
from .model import Account, Key, key_of, parents, shown


@dataclass
class Who:
    """A session's user with the roles that count; ``secondary`` names the secondary ones."""

    account: Account
    user: str
    role: str
    secondary: bool = True
    extra: frozenset[str] = frozenset()

    @property
    def primary(self) -> frozenset[str]:
        """The current role with what it inherits: only it may make objects."""
        return self.account.closure(self.role)

    @property
    def roles(self) -> frozenset[str]:
        """All roles whose privileges count."""
        found = self.primary
        if self.secondary:
            for role in self.account.members.get(self.user, ()):
                if role != self.role:
                    found |= self.account.closure(role)
        return found

    def require(
        self,
        kind: str,
        names: Iterable[str],
        *privileges: str,
        primary: bool = False,
        written: Iterable[str] | None = None,
    ) -> Key:
        """The key of an object on which one of these privileges is there, else Snowflake's error.

        Without ``privileges`` any one will do. An object that may not be known of does not exist; the error says its
        name as it was ``written``.
        """
        key = key_of(kind, names)
        roles = self.primary if primary else self.roles
        for parent in parents(key):
            if not self.account.privileges(parent, roles):
                raise missing(parent[0], parent[1:])
        found = self.account.privileges(key, roles)
        if not found and not (key in self.account.things and self.account.manages_grants(roles)):
            raise missing(kind, written or key[1:])
        if privileges and not {*privileges, "OWNERSHIP"} & found:
            raise insufficient(kind, key[1:])
        return key

    def require_on_account(self, privilege: str) -> None:
        """A privilege on the account."""
        if not self.account.has(("ACCOUNT",), privilege, self.primary):
            raise insufficient("account", (self.account.name,))


def missing(kind: str, names: Iterable[str]) -> ProgrammingError:
    """What is not there, or not to be known of."""
    word = "Object" if kind in ("TABLE", "VIEW") else kind.capitalize()
    state = "42S02" if word == "Object" else "02000"
    return sql_error(
        2003, state, f"SQL compilation error:\n{word} '{shown(names)}' does not exist or not authorized."
    )


def unusable() -> ProgrammingError:
    """What USE and SHOW … IN answer to a name that is not there or not to be known of."""
    return sql_error(
        2043, "02000", "SQL compilation error:\nObject does not exist, or operation cannot be performed."
    )


def insufficient(kind: str, names: Iterable[str]) -> ProgrammingError:
    """What is known of, but not allowed."""
    last = list(names)[-1]
    return sql_error(
        3001,
        "42501",
        f"SQL access control error:\nInsufficient privileges to operate on {kind.lower()} '{last}'.",
    )


def not_granted() -> ProgrammingError:
    """A GRANT or REVOKE that the role may not run."""
    return sql_error(3102, "42501", "SQL access control error:\nGrant not executed: Insufficient privileges.")


def exists(kind: str, name: str) -> ProgrammingError:
    """What cannot be made because it is there."""
    return sql_error(2002, "42710", f"SQL compilation error:\nObject '{name}' already exists.")

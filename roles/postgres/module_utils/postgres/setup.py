"""Reconciliation of one server: logins, databases, schemas, slots."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .definitions import definitions, query, storage, written
from .errors import SetupError
from .scram import password_matches, scram_verifier

try:
    import psycopg2
    from psycopg2 import sql
except ImportError:
    psycopg2 = None

LOCK_TIMEOUT = "15s"
#: Seconds until a process that was disconnected must have left its slot.
LEAVE_SECONDS = 10

# Databases of every cluster, which nobody needs but the superuser.
CLUSTERS_OWN = ("postgres", "template1")

# What a server says whose superuser has another name.
UNKNOWN_LOGIN = re.compile(r'role ".*" does not exist|no pg_hba\.conf entry')
# A file may bring its own transaction for those who apply it by hand; here the module's own encloses it.
TRANSACTION_LINE = re.compile(r"^\s*(begin|commit)\s*;\s*$", re.IGNORECASE | re.MULTILINE)


def without_transaction(text: str) -> str:
    """Remove lines that are only "begin;" or "commit;" from a schema file."""
    return TRANSACTION_LINE.sub("", text)


class Setup:
    """Reconciles one server; collects what it does in actions."""

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self.superuser: str = params["superuser"]
        self.actions: list[str] = []
        #: Slots that were lost on this server and made again: their readers must begin again. One that is merely missing is
        #: not among them, for then the server may be another one, and to read that as if it were the same is for a person to say.
        self.slots_replaced: list[str] = []
        self.before: list[str] = []
        self.after: list[str] = []
        self.missing_databases: set[str] = set()

    @contextmanager
    def connect(self, database: str, user: str = "") -> Iterator[Any]:
        """Log in over the socket, as the superuser where no other is named; each statement is its own transaction."""
        connection = psycopg2.connect(
            host=self.params["socket_dir"],
            user=user or self.superuser,
            dbname=database,
            application_name="retailflow setup",
            connect_timeout=10,
        )
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def act(self, cursor: Any, action: str, statement: Any) -> None:
        """Note an action and, outside of check mode, execute it."""
        self.actions.append(action)
        self.after.append(action)
        if not self.check_mode:
            cursor.execute(statement)

    def plan(self) -> None:
        """List what a run makes on a server that does not exist yet (check mode)."""
        self.actions += [f"create login {role['name']}" for role in self.params["roles"]]
        self.actions += [f"create database {database['name']}" for database in self.params["databases"]]
        self.actions += [
            f"apply {schema['name']} to {schema['database']}" for schema in self.params["schemas"]
        ]
        self.actions += [f"create slot {slot['name']}" for slot in self.params["slots"]]
        self.after = list(self.actions)

    def run(self) -> None:
        """Reconcile logins, then databases, then schemas, then slots."""
        if self.check_mode:
            self.name_superuser()
        with self.connect("postgres") as connection, connection.cursor() as cursor:
            # A statement that sets a password holds its verifier, which no log needs.
            cursor.execute("set log_statement = 'none'")
            self.take_superusers_password(cursor)
            for role in self.params["roles"]:
                self.reconcile_role(cursor, role)
            listed = {database["name"] for database in self.params["databases"]}
            own = [{"name": name, "owner": self.superuser, "connect": []} for name in CLUSTERS_OWN]
            for database in (*self.params["databases"], *(one for one in own if one["name"] not in listed)):
                self.reconcile_database(cursor, database)
        for schema in self.params["schemas"]:
            self.reconcile_schema(schema)
        for slot in self.params["slots"]:
            self.reconcile_slot(slot)

    def take_superusers_password(self, cursor: Any) -> None:
        """Leave the superuser no password: it logs in over the socket alone."""
        cursor.execute("select rolpassword is null from pg_authid where rolname = %s", (self.superuser,))
        if not cursor.fetchone()[0]:
            statement = sql.SQL("alter role {} password null").format(sql.Identifier(self.superuser))
            self.act(cursor, f"take the password of {self.superuser}", statement)

    def name_superuser(self) -> None:
        """Rename the superuser that older data were made with, and let a running server read its rules of access."""
        former = self.params["former_superuser"]
        try:
            with self.connect("postgres"):
                return
        except psycopg2.OperationalError as error:
            # Before the rename there is no such login, or the rules of access that the server has read do not list it.
            if not (former and UNKNOWN_LOGIN.search(str(error))):
                raise
        helper, new = sql.Identifier(f"{self.superuser}_rename"), sql.Identifier(self.superuser)
        with self.connect("postgres", former) as connection, connection.cursor() as cursor:
            cursor.execute("select oid = 10 from pg_roles where rolname = %s", (former,))
            if not cursor.fetchone()[0]:  # BOOTSTRAP_SUPERUSERID in PostgreSQL's pg_authid.dat
                raise SetupError(
                    f"The superuser of this server is neither {self.superuser} nor {former}. Nothing was changed."
                )
            # Nobody renames the user of its own session, so a helper does. One transaction: all of it, or nothing.
            self.act(
                cursor,
                f"rename the superuser {former} to {self.superuser}",
                sql.SQL(
                    "begin; create role {helper} superuser; set local session authorization {helper};"
                    " alter role {former} rename to {new}; reset session authorization; drop role {helper}; commit;"
                ).format(helper=helper, former=sql.Identifier(former), new=new),
            )
            if self.check_mode:
                self.superuser = former
            else:
                cursor.execute("select pg_reload_conf()")

    def reconcile_role(self, cursor: Any, role: dict[str, Any]) -> None:
        """Make a login, or its password, attributes and memberships, as wanted."""
        name, password = role["name"], role["password"]
        if not password.isascii() or not password:
            raise SetupError(f"The password of the login {name} must be ASCII and not empty.")
        identifier = sql.Identifier(name)
        secret = sql.Literal(scram_verifier(password, os.urandom(16)))
        replication = bool(role.get("replication"))
        cursor.execute(
            "select rolpassword, rolcanlogin and not (rolsuper or rolcreatedb or rolcreaterole or rolbypassrls),"
            " rolreplication from pg_authid where rolname = %s",
            (name,),
        )
        found = cursor.fetchone()
        if found is None:
            self.act(
                cursor,
                f"create login {name}",
                sql.SQL("create role {} login {} password {}").format(
                    identifier, sql.SQL("replication" if replication else "noreplication"), secret
                ),
            )
        else:
            if not password_matches(password, found[0]):
                self.act(
                    cursor,
                    f"set the password of {name}",
                    sql.SQL("alter role {} password {}").format(identifier, secret),
                )
            if (True, replication) != found[1:]:
                self.act(
                    cursor,
                    f"set the attributes of {name}",
                    sql.SQL("alter role {} login nosuperuser nocreatedb nocreaterole nobypassrls {}").format(
                        identifier, sql.SQL("replication" if replication else "noreplication")
                    ),
                )
        self.reconcile_bounds(cursor, role)
        self.reconcile_memberships(cursor, name, set(role["member_of"]))

    def reconcile_bounds(self, cursor: Any, role: dict[str, Any]) -> None:
        """Bound a login's connections, and give its sessions the wanted settings; others that it has stay."""
        name, identifier = role["name"], sql.Identifier(role["name"])
        cursor.execute("select rolconnlimit, rolconfig from pg_roles where rolname = %s", (name,))
        connections, config = cursor.fetchone() or (-1, None)  # in check mode it may not be there
        if role.get("connections", connections) != connections:
            number = sql.Literal(role["connections"])
            self.act(
                cursor,
                f"bound the connections of {name}",
                sql.SQL("alter role {} connection limit {}").format(identifier, number),
            )
        present = dict(one.split("=", 1) for one in config or [])
        for setting, value in sorted(role.get("settings", {}).items()):
            if present.get(setting) != value:
                self.act(
                    cursor,
                    f"set {setting} of {name}",
                    sql.SQL("alter role {} set {} = {}").format(
                        identifier, sql.Identifier(setting), sql.Literal(value)
                    ),
                )

    def reconcile_memberships(self, cursor: Any, name: str, wanted: set[str]) -> None:
        """Give a login exactly the wanted memberships."""
        cursor.execute(
            "select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid"
            " join pg_roles r on r.oid = m.member where r.rolname = %s",
            (name,),
        )
        present = {row[0] for row in cursor.fetchall()}
        for group in sorted(wanted - present):
            statement = sql.SQL("grant {} to {}").format(sql.Identifier(group), sql.Identifier(name))
            self.act(cursor, f"grant {group} to {name}", statement)
        for group in sorted(present - wanted):
            statement = sql.SQL("revoke {} from {}").format(sql.Identifier(group), sql.Identifier(name))
            self.act(cursor, f"revoke {group} from {name}", statement)

    def reconcile_database(self, cursor: Any, database: dict[str, Any]) -> None:
        """Make a database, its owner and who may connect as wanted."""
        name, owner = database["name"], database["owner"]
        identifier = sql.Identifier(name)
        cursor.execute(
            "select d.datdba::regrole::text, array(select case grantee when 0 then 'public'"
            " else pg_get_userbyid(grantee) end from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba)))"
            " where privilege_type = 'CONNECT') from pg_database d where d.datname = %s",
            (name,),
        )
        found = cursor.fetchone()
        if found is None:
            self.missing_databases.add(name)
            statement = sql.SQL("create database {} owner {}").format(identifier, sql.Identifier(owner))
            self.act(cursor, f"create database {name}", statement)
            connecting = {"public", owner}
        else:
            cursor.execute("select pg_get_userbyid(datdba) from pg_database where datname = %s", (name,))
            connecting = set(found[1])
            if cursor.fetchone()[0] != owner:
                statement = sql.SQL("alter database {} owner to {}").format(identifier, sql.Identifier(owner))
                self.act(cursor, f"give database {name} to {owner}", statement)
        wanted = {owner, *database["connect"]}
        if "public" in connecting:
            statement = sql.SQL("revoke all on database {} from public").format(identifier)
            self.act(cursor, f"close database {name} to public", statement)
        for role in sorted(wanted - connecting):
            statement = sql.SQL("grant connect on database {} to {}").format(identifier, sql.Identifier(role))
            self.act(cursor, f"let {role} connect to {name}", statement)
        for role in sorted(connecting - wanted - {"public", self.superuser}):
            statement = sql.SQL("revoke all on database {} from {}").format(identifier, sql.Identifier(role))
            self.act(cursor, f"close database {name} to {role}", statement)

    def reconcile_schema(self, schema: dict[str, Any]) -> None:
        """Apply a schema file; keep the transaction only where it defined or wrote something."""
        name, database = schema["name"], schema["database"]
        if self.check_mode and database in self.missing_databases:
            self.actions.append(f"apply {name} to {database}")
            return
        with self.connect(database) as connection:
            connection.autocommit = False
            with connection.cursor() as cursor:
                cursor.execute("select set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
                everything = query(cursor)
                before, files = definitions(cursor, everything), storage(cursor)
                try:
                    cursor.execute(without_transaction(schema["sql"]))
                except psycopg2.Error as error:
                    if self.check_mode and self.actions:
                        # It may need logins that exist only after this run.
                        self.actions.append(f"apply {name} to {database}")
                        return
                    raise SetupError(
                        f"{name} cannot be applied to {database}: {' '.join(str(error).split())}. It was not applied."
                    ) from error
                # A file may leave another search_path or role behind; names are to be written as before.
                cursor.execute("reset all; reset role")
                after = definitions(cursor, everything)
                rows = written(cursor) | {
                    table for table, file in storage(cursor).items() if files.get(table, file) != file
                }
            changed = before != after or bool(rows)
            if changed and not self.check_mode:
                connection.commit()
            else:
                connection.rollback()
        if changed:
            self.actions.append(f"apply {name} to {database}")
            self.before.extend(sorted(before - after))
            self.after.extend(sorted(after - before))
            self.after.extend(f"rows of {table} written" for table in sorted(rows))

    def reconcile_slot(self, slot: dict[str, Any]) -> None:
        """Make a replication slot where there is none of its name, or where PostgreSQL has removed the log that it needed."""
        name, database = slot["name"], slot["database"]
        if self.check_mode and database in self.missing_databases:
            self.actions.append(f"create slot {name}")
            return
        arguments = (sql.Literal(name), sql.Literal(slot["plugin"]))
        statement = sql.SQL("select pg_create_logical_replication_slot({}, {})").format(*arguments)
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(
                "select database, plugin, wal_status is not distinct from 'lost' from pg_replication_slots"
                " where slot_name = %s",
                (name,),
            )
            found = cursor.fetchone()
            if found is None:
                self.act(cursor, f"create slot {name}", statement)
            elif found[:2] != (database, slot["plugin"]):
                raise SetupError(
                    f"The replication slot {name} is there, but for the plugin {found[1]} in {found[0]}: drop it,"
                    " or choose another name."
                )
            elif found[2]:
                drop = sql.SQL("select pg_drop_replication_slot({})").format(sql.Literal(name))
                self.act(cursor, f"drop slot {name}, which is lost", drop)
                self.act(cursor, f"create slot {name}", statement)
                self.slots_replaced.append(name)

    def release(self) -> None:
        """Drop the slots and publications that are listed, where they are."""
        with self.connect("postgres") as connection, connection.cursor() as cursor:
            for slot in self.params["slots"]:
                self.drop_slot(cursor, slot["name"])
            cursor.execute("select datname from pg_database")
            databases = {row[0] for row in cursor.fetchall()}
        for publication in self.params["publications"]:
            if publication["database"] in databases:
                self.drop_publication(publication["database"], publication["name"])

    def drop_slot(self, cursor: Any, name: str) -> None:
        """Drop a slot, where there is one of its name; a slot that is being read cannot be dropped."""
        look = "select active_pid from pg_replication_slots where slot_name = %s"
        cursor.execute(look, (name,))
        found = cursor.fetchone()
        if found is None:
            return
        deadline = time.monotonic() + LEAVE_SECONDS
        while found and found[0] and not self.check_mode:
            if time.monotonic() > deadline:
                raise SetupError(f"Process {found[0]} goes on reading the replication slot {name}.")
            cursor.execute("select pg_terminate_backend(%s, 1000)", (found[0],))
            cursor.execute(look, (name,))
            found = cursor.fetchone()
        if found:  # a temporary one went with its reader
            statement = sql.SQL("select pg_drop_replication_slot({})").format(sql.Literal(name))
            self.act(cursor, f"drop slot {name}", statement)

    def drop_publication(self, database: str, name: str) -> None:
        """Drop a publication, where there is one of its name."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute("select 1 from pg_publication where pubname = %s", (name,))
            if cursor.fetchone():
                cursor.execute("set lock_timeout = %s", (LOCK_TIMEOUT,))
                self.act(
                    cursor,
                    f"drop publication {name}",
                    sql.SQL("drop publication {}").format(sql.Identifier(name)),
                )

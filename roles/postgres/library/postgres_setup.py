"""Ansible module: reconcile the logins, databases and schema of a PostgreSQL server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    import psycopg2
    from psycopg2 import sql
except ImportError:
    psycopg2 = None

DOCUMENTATION = r"""
---
module: postgres_setup
short_description: Reconcile the logins, databases and schema of a PostgreSQL server
description:
  - Logs in over the server's socket as the superuser, so that a changed password, the superuser's own too, can be applied.
  - Passwords leave this module only as SCRAM verifiers, so that no server log can hold one.
  - Each schema file is applied in one transaction, which is committed only where it changed a definition. Such files
    hold definitions that are safe to apply again; rows that they write alone are not noticed.
  - O(state=absent) drops the slots and publications that are listed, and throws out who reads a slot; it touches nothing else.
options:
  state: {description: What to do., type: str, choices: [present, absent], default: present}
  socket_dir: {description: Folder of the server's socket., type: path, required: true}
  admin_user: {description: The superuser., type: str, required: true}
  admin_password: {description: Its password; needed with O(state=present)., type: str, default: ""}
  roles:
    description: Logins.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      password: {description: Password., type: str, required: true}
      replication: {description: Whether it may replicate., type: bool, default: false}
      member_of: {description: Roles whose rights it has., type: list, elements: str, default: []}
  databases:
    description: Databases.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      owner: {description: Owner., type: str, required: true}
      connect: {description: Other logins that may connect., type: list, elements: str, default: []}
  schemas:
    description: SQL files with definitions.
    type: list
    elements: dict
    default: []
    suboptions:
      database: {description: Where it is applied., type: str, required: true}
      name: {description: Its name in messages., type: str, required: true}
      sql: {description: Its text., type: str, required: true}
  slots:
    description: Logical replication slots. One that is missing is made; nothing else of it is touched.
    type: list
    elements: dict
    default: []
    suboptions:
      database: {description: Where it is made., type: str, required: true}
      name: {description: Name., type: str, required: true}
      plugin: {description: Its output plugin., type: str, default: pgoutput}
  publications:
    description: Publications, which schema files make; O(state=absent) drops them.
    type: list
    elements: dict
    default: []
    suboptions:
      database: {description: Where it is., type: str, required: true}
      name: {description: Name., type: str, required: true}
requirements: [python3-psycopg2]
author: RetailFlow
attributes:
  check_mode: {support: full, description: What would change is rolled back.}
  diff_mode: {support: full, description: Shows logins and definitions.}
"""

EXAMPLES = r"""
- name: Make a shop's database
  postgres_setup:
    socket_dir: /srv/postgres/run
    admin_user: postgres
    admin_password: "{{ admin_password }}"
    roles: [{name: shop, password: "{{ shop_password }}"}]
    databases: [{name: shop, owner: shop}]
    schemas: [{database: shop, name: shop.sql, sql: "{{ lookup('ansible.builtin.file', 'shop.sql') }}"}]
"""

RETURN = r"""
actions: {description: What was done, or would be., type: list, returned: success}
"""

SCRAM_ITERATIONS = 4096
LOCK_TIMEOUT = "15s"
#: Seconds until a process that was thrown out must have left its slot.
LEAVE_SECONDS = 10

# Every definition outside of the system schemas as one line of text: what "changed" means for a schema file.
DEFINITIONS = """
with spaces as (
    select oid, nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
),
relations as (
    select c.*, s.nspname from pg_class c join spaces s on s.oid = c.relnamespace
)
select format('schema %I', nspname) from spaces
union all
select format('relation %s kind %s options %s identity %s rls %s acl %s',
              oid::regclass, relkind, reloptions, relreplident, relrowsecurity, relacl) from relations
union all
select format('view %s %s', oid::regclass, pg_get_viewdef(oid)) from relations where relkind in ('v', 'm')
union all
select format('column %s.%I %s null %s identity %s default %s acl %s', r.oid::regclass, a.attname,
              format_type(a.atttypid, a.atttypmod), not a.attnotnull, a.attidentity,
              pg_get_expr(d.adbin, d.adrelid), a.attacl)
from pg_attribute a join relations r on r.oid = a.attrelid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attnum > 0 and not a.attisdropped and r.relkind in ('r', 'p', 'v', 'm', 'f')
union all
select format('parameter %s acl %s', parname, paracl) from pg_parameter_acl
union all
select format('sequence %s %s', r.oid::regclass, row(q.*)) from pg_sequence q join relations r on r.oid = q.seqrelid
union all
select format('index %s', pg_get_indexdef(i.indexrelid)) from pg_index i join relations r on r.oid = i.indexrelid
union all
select format('constraint %s %s %s', c.conname, c.conrelid::regclass, pg_get_constraintdef(c.oid))
from pg_constraint c join spaces s on s.oid = c.connamespace
union all
select format('trigger %s %s', pg_get_triggerdef(t.oid), t.tgenabled)
from pg_trigger t join relations r on r.oid = t.tgrelid where not t.tgisinternal
union all
select format('function %s acl %s', pg_get_functiondef(p.oid), p.proacl)
from pg_proc p join spaces s on s.oid = p.pronamespace where p.prokind in ('f', 'p')
union all
select format('type %s %s %s', t.typname, t.typtype,
              (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid))
from pg_type t join spaces s on s.oid = t.typnamespace where t.typtype in ('d', 'e')
union all
select format('schema acl %I %s owner %s', n.nspname, n.nspacl, n.nspowner::regrole)
from pg_namespace n join spaces s on s.oid = n.oid
union all
select format('default acl %s %s %s %s', defaclrole::regrole, defaclnamespace, defaclobjtype, defaclacl)
from pg_default_acl
union all
select format('comment %s %s', pg_describe_object(classoid, objoid, objsubid), description)
from pg_description where objoid >= 16384
union all
select format('publication %s %s %s %s %s %s', p.pubname, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete,
              (select string_agg(format('%I.%I', t.schemaname, t.tablename), ',' order by t.schemaname, t.tablename)
               from pg_publication_tables t where t.pubname = p.pubname))
from pg_publication p
union all
select format('extension %s %s', extname, extversion) from pg_extension
"""

# A file may bring its own transaction for those who apply it by hand; here the module's own encloses it.
TRANSACTION_LINE = re.compile(r"^\s*(begin|commit)\s*;\s*$", re.IGNORECASE | re.MULTILINE)


class SetupError(Exception):
    """What went wrong, in words for the person who runs the play."""


def scram_verifier(password: str, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> str:
    """Return a password as PostgreSQL keeps it (RFC 5802, PostgreSQL's scram-common.c)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    return f"SCRAM-SHA-256${iterations}:{text(salt)}${text(stored)}:{text(server)}"


def password_matches(password: str, verifier: str | None) -> bool:
    """Tell whether a verifier of pg_authid belongs to a password."""
    match = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$.+", verifier or "")
    if match is None:
        return False
    wanted = scram_verifier(password, base64.b64decode(match[2]), int(match[1]))
    return hmac.compare_digest(wanted, verifier or "")


def without_transaction(text: str) -> str:
    """Take lines that are only "begin;" or "commit;" out of a schema file."""
    return TRANSACTION_LINE.sub("", text)


class Setup:
    """Reconciles one server; collects what it does in actions."""

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self.actions: list[str] = []
        self.before: list[str] = []
        self.after: list[str] = []
        self.missing_databases: set[str] = set()

    @contextmanager
    def connect(self, database: str) -> Iterator[Any]:
        """Log in over the socket; each statement is its own transaction."""
        connection = psycopg2.connect(
            host=self.params["socket_dir"],
            user=self.params["admin_user"],
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
        with self.connect("postgres") as connection, connection.cursor() as cursor:
            admin = {
                "name": self.params["admin_user"],
                "password": self.params["admin_password"],
                "member_of": [],
            }
            for role in (admin, *self.params["roles"]):
                self.reconcile_role(cursor, role)
            for database in self.params["databases"]:
                self.reconcile_database(cursor, database)
        for schema in self.params["schemas"]:
            self.reconcile_schema(schema)
        for slot in self.params["slots"]:
            self.reconcile_slot(slot)

    def reconcile_role(self, cursor: Any, role: dict[str, Any]) -> None:
        """Make a login, or its password, attributes and memberships, as wanted."""
        name, password = role["name"], role["password"]
        if not password.isascii() or not password:
            raise SetupError(f"The password of the login {name} must be ASCII and not empty.")
        identifier = sql.Identifier(name)
        secret = sql.Literal(scram_verifier(password, os.urandom(16)))
        replication = role.get("replication")
        cursor.execute(
            "select rolpassword, rolcanlogin, rolreplication from pg_authid where rolname = %s", (name,)
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
            if replication is not None and (True, replication) != found[1:]:
                self.act(
                    cursor,
                    f"set the attributes of {name}",
                    sql.SQL("alter role {} login {}").format(
                        identifier, sql.SQL("replication" if replication else "noreplication")
                    ),
                )
        self.reconcile_memberships(cursor, name, set(role["member_of"]))

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
        for role in sorted(connecting - wanted - {"public", self.params["admin_user"]}):
            statement = sql.SQL("revoke all on database {} from {}").format(identifier, sql.Identifier(role))
            self.act(cursor, f"close database {name} to {role}", statement)

    def reconcile_schema(self, schema: dict[str, Any]) -> None:
        """Apply a schema file; keep the transaction only where a definition differs afterwards."""
        name, database = schema["name"], schema["database"]
        if self.check_mode and database in self.missing_databases:
            self.actions.append(f"apply {name} to {database}")
            return
        with self.connect(database) as connection:
            connection.autocommit = False
            with connection.cursor() as cursor:
                cursor.execute("select set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
                cursor.execute(DEFINITIONS)
                before = {row[0] for row in cursor.fetchall()}
                try:
                    cursor.execute(without_transaction(schema["sql"]))
                except psycopg2.Error as error:
                    if self.check_mode and self.actions:
                        # It may need logins that exist only after this run.
                        self.actions.append(f"apply {name} to {database}")
                        return
                    raise SetupError(f"{name} cannot be applied to {database}: {error}") from error
                cursor.execute(DEFINITIONS)
                after = {row[0] for row in cursor.fetchall()}
            if before == after or self.check_mode:
                connection.rollback()
            else:
                connection.commit()
        if before != after:
            self.actions.append(f"apply {name} to {database}")
            self.before.extend(sorted(before - after))
            self.after.extend(sorted(after - before))

    def reconcile_slot(self, slot: dict[str, Any]) -> None:
        """Make a replication slot where there is none of its name."""
        name, database = slot["name"], slot["database"]
        if self.check_mode and database in self.missing_databases:
            self.actions.append(f"create slot {name}")
            return
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute("select database, plugin from pg_replication_slots where slot_name = %s", (name,))
            found = cursor.fetchone()
            if found is None:
                arguments = (sql.Literal(name), sql.Literal(slot["plugin"]))
                statement = sql.SQL("select pg_create_logical_replication_slot({}, {})").format(*arguments)
                self.act(cursor, f"create slot {name}", statement)
            elif found != (database, slot["plugin"]):
                raise SetupError(
                    f"The replication slot {name} is there, but for the plugin {found[1]} in {found[0]}: drop it,"
                    " or choose another name."
                )

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


def main() -> None:
    """Entry point of the module."""
    text = {"type": "str", "required": True}
    names = {"type": "list", "elements": "str", "default": []}

    def records(**options: Any) -> dict[str, Any]:
        return {"type": "list", "elements": "dict", "default": [], "options": options}

    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "socket_dir": {"type": "path", "required": True},
            "admin_user": text,
            "admin_password": {"type": "str", "default": "", "no_log": True},
            "roles": records(
                name=text,
                password=text | {"no_log": True},
                replication={"type": "bool", "default": False},
                member_of=names,
            ),
            "databases": records(name=text, owner=text, connect=names),
            "schemas": records(database=text, name=text, sql=text),
            "slots": records(database=text, name=text, plugin={"type": "str", "default": "pgoutput"}),
            "publications": records(database=text, name=text),
        },
        supports_check_mode=True,
    )
    setup = Setup(module.params, module.check_mode)
    absent = module.params["state"] == "absent"
    if not os.path.exists(module.params["socket_dir"]) and absent:
        pass  # without a server there is nothing to drop
    elif module.check_mode and not os.path.exists(module.params["socket_dir"]):
        setup.plan()
    elif psycopg2 is None:
        module.fail_json(
            msg="The Python driver is missing on the host: install the package python3-psycopg2."
        )
    else:
        try:
            setup.release() if absent else setup.run()
        except psycopg2.OperationalError as error:
            module.fail_json(msg=f"PostgreSQL does not answer at {module.params['socket_dir']}: {error}")
        except (SetupError, psycopg2.Error) as error:
            module.fail_json(msg=str(error), actions=setup.actions)
    diff = {"before": "\n".join(setup.before) + "\n", "after": "\n".join(setup.after) + "\n"}
    module.exit_json(changed=bool(setup.actions), actions=setup.actions, diff=diff if setup.actions else {})


if __name__ == "__main__":
    main()

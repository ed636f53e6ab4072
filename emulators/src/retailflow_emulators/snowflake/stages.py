"""Stages by any name: upstream writes their names into paths and SQL as they are, so it sees them encoded.

A name is encoded as letters, digits and ``_``, with ``$hex$`` for every other character, which no path and no SQL
takes amiss. ``@~``, the stage of a user, is a stage named like the user in a database and a schema of its own.
"""

from __future__ import annotations

import hmac
import re
import secrets
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import fakesnow.server as server_module
import pyarrow as pa
from fakesnow import transforms
from fakesnow.transforms import stage as upstream
from sqlglot import exp

from .errors import NotEmulatedError, sql_error
from .patches import patch

if TYPE_CHECKING:
    from .session import Session

# DuckDB refuses the second of two inserts of one key that run at once, whatever it is told about conflicts.
_LOGIN = threading.Lock()
_SECRET = secrets.token_bytes(32)
FORMATS: dict[tuple[str, str, str], list[exp.Expr]] = {}  # of stages that were made with one
USERS = "USERS$0$"  # of stages of users; no name can be encoded as this
# Nothing is stored there; connector 5 wants to know it.
SIGNED = "%3B".join(
    (
        "content-encoding",
        "content-type",
        "host",
        "x-goog-if-generation-match",
        "x-goog-meta-encryptiondata",
        "x-goog-meta-matdesc",
        "x-goog-meta-sfc-digest",
    )
)
REGION = {"region": "us-central1", "isClientSideEncrypted": False}
_NAME = r'(?:"(?:[^"]|"")*"|[^".\s/]+)'
_LOCATION = re.compile(rf"@(?P<name>~|(?:{_NAME}\.){{0,2}}%?{_NAME})(?P<path>(?:/.*)?)$", re.DOTALL)
_ONE = re.compile(rf"%?{_NAME}")
_gcs, _create_stage = server_module.gcs_stage_info, transforms.create_stage


def encode(name: str) -> str:
    """A name as upstream may see it; only those of the stages of tables and users begin with a ``%`` or a ``~``."""
    return re.sub(r"[^A-Za-z0-9_]", lambda found: f"${ord(found[0]):x}$", name)


def decode(name: str) -> str:
    """The name that was encoded."""
    return re.sub(r"\$([0-9a-f]+)\$", lambda found: chr(int(found[1], 16)), name)


def _plain(name: str) -> str:
    """A name as it is stored: upper case unless it is quoted."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.upper()


def parts(text: str, session: Session) -> tuple[tuple[str, str, str], str]:
    """The encoded database, schema and name of a stage, and the path below it, of ``@…``."""
    found = _LOCATION.match(text.strip().strip("'"))
    if not found:
        raise sql_error(1003, "42000", f"SQL compilation error:\nsyntax error in the stage {text}")
    path = found["path"].removeprefix("/")
    if found["name"] == "~":
        return (USERS, USERS, "~" + encode(session.guard.who.user)), path
    written = _ONE.findall(found["name"])
    of_table = written[-1].startswith("%")
    written[-1] = written[-1].removeprefix("%") if of_table else written[-1]
    names = [_plain(one) for one in written]
    where = [
        session.database if session.database_set else None,
        session.schema if session.schema_set else None,
    ]
    full = [*where[: 3 - len(names)], *names]
    if None in full:
        missing = "database" if full[0] is None else "schema"
        raise sql_error(
            90105 if missing == "database" else 90106,
            "22000",
            f"Cannot perform operation. This session does not have a current {missing}. "
            f"Call 'USE {missing.upper()}', or use a qualified name.",
        )
    database, schema, name = (encode(str(one)) for one in full)
    return (database, schema, f"%{name}" if of_table else name), path


def location(text: str, session: Session) -> str:
    """A stage's place in a statement, with all names written out and encoded."""
    names, path = parts(text, session)
    written = ".".join(f'"{name}"' for name in names)
    return f"@{written}/{path}" if path else f"@{written}"


def encoded(expression: exp.Expr, session: Session, params: Any = None) -> exp.Expr:
    """A statement that names stages, with their names encoded."""
    if isinstance(expression, exp.Copy):
        if str(expression.this).strip("'").startswith("@"):
            raise NotEmulatedError("COPY INTO a stage")
        _add_format(expression, session)
        for table in list(expression.find_all(exp.Table)):
            if isinstance(table.this, exp.Literal) and table.this.name.startswith("@"):
                table.set("this", exp.var(location(table.this.name, session)))
            _encode_var(table.this, session)
        for source in expression.args.get("files") or []:
            if isinstance(source.this, exp.Literal) and source.this.name.startswith("@"):
                source.set("this", exp.var(location(source.this.name, session)))
        for option in expression.find_all(exp.Property):
            if option.name.upper() == "FORMAT_NAME" and isinstance(option.args.get("value"), exp.Table):
                written = option.args["value"].sql(dialect="snowflake", comments=False)
                option.set("value", exp.Literal.string(written))
    elif isinstance(expression, exp.Put):
        target = expression.args["target"]
        if target.name == "?" and isinstance(params, list) and len(params) == 1:
            expression.set("target", exp.var(location(str(params.pop()), session)))
        else:
            _encode_var(target, session)
    elif isinstance(expression, exp.ListStage):
        _encode_var(expression.this, session)
    elif isinstance(expression, exp.Create) and str(expression.args.get("kind")).upper() == "STAGE":
        table = expression.this
        (database, schema, name), _ = parts("@" + table.sql(dialect="snowflake", comments=False), session)
        expression.set("this", exp.table_(name, db=schema, catalog=database, quoted=True))
        formats = expression.find(exp.FileFormatProperty)
        FORMATS[database, schema, name] = [one.copy() for one in formats.expressions] if formats else []
    return expression


def _add_format(copy: exp.Copy, session: Session) -> None:
    """Give a COPY that names no format of its own that of its stage."""
    params = copy.args.get("params") or []
    if any(one.name.upper() == "FILE_FORMAT" for one in params):
        return
    sources = [str(one.this) for one in [*copy.find_all(exp.Table), *(copy.args.get("files") or [])]]
    source = next((one.strip("'") for one in sources if one.strip("'").startswith("@")), None)
    if source and (options := FORMATS.get(parts(source, session)[0])):
        format_ = exp.CopyParameter(this=exp.var("FILE_FORMAT"), expressions=[one.copy() for one in options])
        copy.set("params", [*params, format_])


def _encode_var(node: Any, session: Session) -> None:
    if isinstance(node, exp.Var) and str(node.this).strip("'").startswith("@"):
        node.set("this", location(str(node.this), session))


def make_user_stage(session: Session) -> None:
    """Make the stage of a user, where there is none."""
    with _LOGIN:
        session._duck_conn.execute(
            "insert or ignore into _fs_global._fs_information_schema._fs_stages (created_on, name, "
            "database_name, schema_name, url, type) values (now(), ?, ?, ?, '', 'INTERNAL')",
            ["~" + encode(session.guard.who.user), USERS, USERS],
        )


def find(text: str, session: Session) -> tuple[str, str]:
    """The folder of a stage and the path below it; an error where there is no such stage."""
    (database, schema, name), path = parts(text, session)
    sql = upstream.stage_lookup_sql(database, schema, name, session.table_stages)
    found = session._duck_conn.execute(sql).fetchone()
    if not found:
        shown = ".".join(decode(one) for one in (database, schema, name))
        raise sql_error(
            2003, "02000", f"SQL compilation error:\nStage '{shown}' does not exist or not authorized."
        )
    return upstream.internal_dir(found[0]), path


def files(folder: str, prefix: str) -> list[Path]:
    """Files of a stage whose path begins with the prefix."""
    root = Path(folder)
    return sorted(
        file for file in root.rglob("*") if file.is_file() and str(file.relative_to(root)).startswith(prefix)
    )


def remove(text: str, session: Session) -> list[str]:
    """Remove files of a stage and return their names, as LIST shows them."""
    folder, prefix = find(text, session)
    removed = []
    for file in files(folder, prefix):
        file.unlink()
        removed.append(shown_name(file))
    return removed


def shown(table: pa.Table) -> pa.Table:
    """The answer of SHOW STAGES with the names as they are."""
    for name in ("name", "database_name", "schema_name"):
        decoded = pa.array([decode(one) for one in table.column(name).to_pylist()], pa.string())
        table = table.set_column(table.column_names.index(name), name, decoded)
    return table


@patch(transforms, "create_stage", 'CREATE STAGE "st x" answers with the name as it is')
def create_stage(expression: exp.Expr, *place: Any) -> exp.Expr:
    """CREATE STAGE as upstream runs it."""
    made = _create_stage(expression, *place)
    if name := made.args.get("create_stage_name"):
        made.args["create_stage_name"] = decode(name)
    return made


def shown_name(file: Path) -> str:
    """A file's name as LIST, GET and REMOVE show it: below the name of its stage."""
    return upstream.internal_file_name(str(file))


@patch(server_module, "gcs_stage_info", "PUT by connector 5, which misses the region of the stage")
def stage_info(*arguments: Any) -> dict[str, Any]:
    """Where files of a stage are sent to."""
    info = _gcs(*arguments)
    return {**info, **REGION, "presignedUrl": f"{signed(info['presignedUrl'])}&X-Goog-SignedHeaders={SIGNED}"}


def signature(path: str) -> str:
    """What an address of a file must carry: only who was given it may use it."""
    return hmac.new(_SECRET, path.encode(), "sha256").hexdigest()


def signed(url: str) -> str:
    """The address of a file in the bucket, with its signature."""
    return f"{url}?X-Goog-Signature={signature(unquote(url.split('/fs_bucket/', 1)[1]))}"


@patch(upstream, "_file_name_prefix", "LIST shows the name of a stage as it is")
def file_name_prefix(name: str) -> str:
    """What the names of a stage's files begin with; nothing for the stages of tables and users."""
    return "" if name.startswith(("%", "~")) else f"{decode(name).lower()}/"


def drop(where: tuple[Any, ...], session: Session) -> bool:
    """Drop a stage, by database, schema and name, with its files; returns whether there was one."""
    names = [encode(str(one)) for one in where]
    sql = "delete from _fs_global._fs_information_schema._fs_stages where database_name = ? and schema_name = ? and name = ?"
    (dropped,) = session._duck_conn.execute(sql, names).fetchone() or (0,)
    if dropped:
        shutil.rmtree(upstream.internal_dir(".".join(names)), ignore_errors=True)
    return bool(dropped)


def download(text: str, target: str, base_url: str, session: Session) -> dict[str, Any]:
    """What a client needs to GET files: an address for each, and where it wants them."""
    folder, prefix = find(text, session)
    found = files(folder, prefix)
    bucket = Path(upstream.LOCAL_BUCKET_PATH)
    return {
        "command": "DOWNLOAD",
        "operation": "Node",
        "src_locations": [str(file.relative_to(folder)) for file in found],
        "presignedUrls": [
            signed(f"{base_url}/fs_bucket/{quote(str(file.relative_to(bucket)))}") for file in found
        ],
        "encryptionMaterial": [],
        "localLocation": target.removeprefix("file://"),
        "parallel": 4,
        "stageInfo": {"locationType": "GCS", "location": f"{Path(folder).name}/", "creds": {}, **REGION},
    }

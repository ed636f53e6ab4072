"""Everything that is defined in a database, as lines of text that can be compared before and after a schema file.

Every system catalog is read, whichever it is, so that no kind of definition is left out: a catalog that a later
PostgreSQL adds is seen too. Object ids become names, because a file that drops and makes an object again gives it
a new id. What changes without a definition (sizes, transaction ids, statistics) is left out.
"""

from __future__ import annotations

from typing import Any

# Data, statistics, states, and what follows from other catalogs.
LEFT_OUT = {
    *(
        "pg_largeobject",
        "pg_statistic",
        "pg_statistic_ext_data",
        "pg_subscription_rel",
        "pg_replication_origin",
    ),
    *("pg_init_privs", "pg_shdepend"),
}
VOLATILE = {
    "pg_attribute": {"attcacheoff", "atthasmissing", "attmissingval"},
    "pg_class": {
        *(
            "relfilenode",
            "relpages",
            "reltuples",
            "relallvisible",
            "relallfrozen",
            "relfrozenxid",
            "relminmxid",
        ),
        *("reltoastrelid", "relrewrite", "relhasindex", "relhasrules", "relhastriggers", "relhassubclass"),
    },
    "pg_database": {"datfrozenxid", "datminmxid"},
    "pg_index": {"indcheckxmin"},
    "pg_type": {"typdefaultbin"},  # typdefault says the same
}
# Expressions are kept as trees that hold object ids and positions in the text: PostgreSQL writes them out again.
WRITTEN_OUT = {
    ("pg_attrdef", "adbin"): "pg_get_expr(adbin, adrelid)",
    # Minor releases of 2026 (17.12) note there when a statement wrote the column again, with a new number each time.
    (
        "pg_attribute",
        "attoptions",
    ): "(select array_agg(o) from unnest(attoptions) o where o !~ '^pg_attver=')",
    ("pg_class", "relpartbound"): "pg_get_expr(relpartbound, oid)",
    ("pg_constraint", "conbin"): "pg_get_constraintdef(oid)",
    ("pg_index", "indexprs"): "pg_get_indexdef(indexrelid)",
    ("pg_index", "indpred"): "pg_get_expr(indpred, indrelid)",
    ("pg_partitioned_table", "partexprs"): "pg_get_partkeydef(partrelid)",
    ("pg_policy", "polqual"): "pg_get_expr(polqual, polrelid)",
    ("pg_policy", "polwithcheck"): "pg_get_expr(polwithcheck, polrelid)",
    ("pg_proc", "proargdefaults"): "pg_get_function_arguments(oid)",
    ("pg_proc", "prosqlbody"): "pg_get_function_sqlbody(oid)",
    ("pg_publication_rel", "prqual"): "pg_get_expr(prqual, prrelid)",
    ("pg_rewrite", "ev_action"): "pg_get_ruledef(oid)",
    ("pg_rewrite", "ev_qual"): "null::text",
    ("pg_statistic_ext", "stxexprs"): "pg_get_statisticsobjdef(oid)",
    ("pg_trigger", "tgqual"): "case when not tgisinternal then pg_get_triggerdef(oid) end",
    # The names of the triggers of a foreign key hold object ids.
    ("pg_trigger", "tgname"): "case when tgisinternal then 'internal' else tgname::text end",
}
# A diff must not show them.
SECRET = {("pg_authid", "rolpassword"), ("pg_user_mapping", "umoptions"), ("pg_subscription", "subconninfo")}
# Pairs of catalog and object id that refer to anything.
ANY_OBJECT = {
    "pg_depend": [("classid", "objid", "objsubid"), ("refclassid", "refobjid", "refobjsubid")],
    "pg_description": [("classoid", "objoid", "objsubid")],
    "pg_seclabel": [("classoid", "objoid", "objsubid")],
    "pg_shdescription": [("classoid", "objoid", "0")],
    "pg_shseclabel": [("classoid", "objoid", "0")],
}
FIRST_OWN_ID = 16384  # FirstNormalObjectId in PostgreSQL's access/transam.h
CONDITIONS = {
    # Members of extensions, objects that depend on one, and sequences that belong to a column.
    "pg_depend": "deptype in ('e', 'x') or (classid = 'pg_class'::regclass and deptype in ('a', 'i')"
    " and exists (select from pg_class s where s.oid = objid and s.relkind = 'S'))",
    "pg_attrdef": "adrelid not in (select oid from internal)",
    "pg_attribute": "not attisdropped and attrelid not in (select oid from internal)",
    "pg_class": "oid not in (select oid from internal)",
    "pg_constraint": "conrelid not in (select oid from internal)",
    "pg_index": "indexrelid not in (select oid from internal)",
    "pg_namespace": "nspname !~ '^pg_(toast_)?temp_'",
    "pg_sequence": "seqrelid not in (select oid from internal)",
    "pg_type": "typrelid not in (select oid from internal) and typnamespace not in"
    " (select oid from pg_namespace where nspname ~ '^pg_(toast_)?temp_')",
}
# Tables and indexes for large values, and those of a session: named after ids, made by themselves.
INTERNAL = """
with internal as (
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname ~ '^pg_(toast|temp_|toast_temp_)'
)
"""
# The settings of those tables belong to the tables that they serve.
TOAST = """
select 'pg_class', jsonb_build_object('toast of', c.oid::regclass::text, 'reloptions', t.reloptions)::text
from pg_class c join pg_class t on t.oid = c.reltoastrelid where t.reloptions is not null
"""
COLUMNS = """
select c.relname, a.attname, a.atttypid::regtype::text
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
order by c.relname, a.attnum
"""
REFERENCES = """
select fktable::text, fkcols[1], pktable::text from pg_get_catalog_foreign_keys()
where cardinality(fkcols) = 1 and pkcols = array['oid']
"""


def _identity(catalog: str, value: str) -> str:
    return f"(select (pg_identify_object('{catalog}'::regclass, i, 0)).identity from (select {value} as i) x where i <> 0)"


def _column(table: str, name: str, kind: str, references: dict[tuple[str, str], str]) -> str | None:
    """How a column is shown, or None for as it is."""
    if (table, name) in WRITTEN_OUT:
        return WRITTEN_OUT[table, name]
    if (table, name) in SECRET:
        return f"left(md5({name}::text), 8)"
    if kind == "aclitem[]":
        return f"(select jsonb_agg(item::text order by item::text) from unnest({name}) as item)"
    catalog = references.get((table, name))
    if catalog is None:
        return None
    if kind in ("oidvector", "oid[]"):
        each = f"(pg_identify_object('{catalog}'::regclass, i, 0)).identity"
        return (
            f"(select jsonb_agg(case when i <> 0 then {each} end order by n)"
            f" from unnest({name}::oid[]) with ordinality as e (i, n))"
        )
    return _identity(catalog, name) if kind == "oid" else None


def _select(table: str, columns: dict[str, str], references: dict[tuple[str, str], str]) -> str:
    """The query for one catalog. Rows of PostgreSQL's own objects become one line, because they are many."""
    dropped = {"oid"} & columns.keys() | VOLATILE.get(table, set()) & columns.keys()
    shown = {
        name: _column(table, name, kind, references) for name, kind in columns.items() if name not in dropped
    }
    for classes, ids, sub in ANY_OBJECT.get(table, []):
        shown[ids] = f"(pg_identify_object({classes}, {ids}, {sub})).identity"
        shown[classes] = f"{classes}::regclass::text"
    pairs = ", ".join(f"'{name}', {text}" for name, text in shown.items() if text)
    gone = ", ".join(f"'{name}'" for name in sorted(dropped)) or "''"
    kept = ", ".join(name for name in columns if name not in VOLATILE.get(table, set()))
    row = f"to_jsonb(t) - array[{gone}]"
    ids = [name for name, kind in columns.items() if kind == "oid"]
    own = " or ".join(f"{name} >= {FIRST_OWN_ID}" for name in ids) or "true"
    where = CONDITIONS.get(table, "true")
    named = (
        f"jsonb_strip_nulls({row} || jsonb_build_object({pairs}))" if pairs else f"jsonb_strip_nulls({row})"
    )
    return (
        f"select '{table}', {named}::text from {table} t where ({where}) and ({own})\n"
        f"union all select '{table}', 'built in: ' || sum(hashtextextended(row({kept})::text, 0))"
        f" from {table} t where ({where}) and not coalesce({own}, false)"
    )


def query(cursor: Any) -> str:
    """Build the query for this server's catalogs; it gives catalog and definition."""
    cursor.execute(COLUMNS)
    tables: dict[str, dict[str, str]] = {}
    for table, column, kind in cursor.fetchall():
        tables.setdefault(table, {})[column] = kind
    cursor.execute(REFERENCES)
    references = {(table, column): catalog for table, column, catalog in cursor.fetchall()}
    parts = [_select(name, found, references) for name, found in tables.items() if name not in LEFT_OUT]
    return INTERNAL + "\nunion all ".join([TOAST, *parts])


def definitions(cursor: Any, text: str) -> set[str]:
    """Everything that is defined now, as the query of `query` gives it."""
    cursor.execute(text)
    return {f"{catalog} {line}" for catalog, line in cursor.fetchall() if line is not None}


def written(cursor: Any) -> set[str]:
    """The tables whose rows this transaction has written so far."""
    cursor.execute(
        "select format('%I.%I', schemaname, relname) from pg_stat_xact_user_tables"
        " where n_tup_ins + n_tup_upd + n_tup_del > 0"
    )
    return {row[0] for row in cursor.fetchall()}


def storage(cursor: Any) -> dict[str, int]:
    """The file of every table: another one afterwards means that it was truncated or written again."""
    cursor.execute(
        "select c.oid::regclass::text, c.relfilenode from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
    )
    return dict(cursor.fetchall())

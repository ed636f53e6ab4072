"""Upstream's passes over a statement's tree, without those that cannot change it.

Upstream walks the whole tree some sixty times a statement, once for each pass; most passes look for one kind of node.
``Tree`` stands in the place of the tree in upstream's chain of ``transform``, so order and arguments stay upstream's own.
A pass that is not named in ``NEEDS`` always runs. ``test_passes.py`` compares with upstream's chain without any of this.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any

from sqlglot import exp

from .kinds import Kinds
from .patches import PATCHES

Need = type[exp.Expr] | str
# What a pass must find to change a tree: nodes of a kind, a name (of a function, a table, a column) or a type of data.
NEEDS: dict[str, tuple[Need, ...]] = {
    "identifier": (exp.DynamicIdentifier, "IDENTIFIER"),
    "alter_session": (exp.AlterSession,),
    "update_variables": (exp.Set, "UNSET"),
    "current_version": (exp.CurrentVersion,),
    "set_schema": (exp.Use,),
    "create_database": (exp.Create,),
    "extract_comment_on_table": (exp.Create, exp.Comment, exp.Alter),
    "extract_comment_on_columns": (exp.Alter,),
    "information_schema_fs": ("INFORMATION_SCHEMA",),
    "information_schema_databases": ("DATABASES",),
    "drop_schema_cascade": (exp.Drop,),
    "tag": (exp.Alter, exp.Command, exp.Create, exp.Drop),
    "semi_structured_types": ("type ARRAY", "type OBJECT", "type VARIANT"),
    "try_parse_json": ("TRY_PARSE_JSON",),
    "split": (exp.Split,),
    "trim_cast_varchar": (exp.Trim,),
    "indices_to_json_extract": (exp.Bracket,),
    "json_extract_cast_as_varchar": (exp.JSONExtract,),
    "json_extract_cased_as_varchar": (exp.JSONExtract,),
    "json_extract_precedence": (exp.JSONExtract, exp.JSONExtractScalar),
    "flatten_value_cast_as_varchar": (exp.Explode,),
    "flatten": (exp.Explode,),
    "regex_replace": (exp.RegexpReplace,),
    "regex_substr": (exp.RegexpExtract,),
    "result_scan": (exp.TableFromRows,),
    "sequence_nextval": ("NEXTVAL",),
    "values_columns": (exp.Values,),
    "to_date": ("TO_DATE",),
    "timestamp_offsets": ("type TIMESTAMPTZ", "type TIMESTAMPLTZ"),
    "to_decimal": (exp.ToNumber,),
    "to_timestamp": (
        exp.UnixToTime,
        "TO_TIMESTAMP",
        "TO_TIMESTAMP_NTZ",
        "type TIMESTAMP",
        "type TIMESTAMPNTZ",
    ),
    "to_variant": (exp.ToVariant,),
    "object_construct": (exp.StarMap, exp.Struct, exp.JSONObject),
    "timestamp_ntz": ("type TIMESTAMPNTZ",),
    "float_to_double": ("type FLOAT",),
    "integer_precision": (exp.DataType,),
    "extract_text_length": (exp.Create, exp.Alter),
    "sample": (exp.TableSample,),
    "array_size": (exp.ArraySize,),
    "random": (exp.Rand,),
    "array_agg_within_group": (exp.WithinGroup,),
    "array_agg": (exp.ArrayAgg,),
    "object_agg": (exp.ObjectAgg,),
    "array_construct_etc": (exp.ArrayConstructCompact, exp.Array, exp.ArrayConcat),
    "dateadd_date_cast": (),  # patches.py has nothing in its place
    "dateadd_string_literal_timestamp_cast": (exp.DateAdd,),
    "datediff_string_literal_timestamp_cast": (exp.DateDiff,),
    "show_databases": (exp.Show,),
    "show_functions": (exp.Show, exp.Command),
    "show_procedures": (exp.Show,),
    "show_parameters": (exp.Command,),
    "show_warehouses": (exp.Show,),
    "show_schemas": (exp.Show,),
    "show_tables_etc": (exp.Show,),
    "show_columns": (exp.Show,),
    "show_stages": (exp.Show,),
    "show_sequences": (exp.Show,),
    "show_keys": (exp.Show,),
    "show_users": (exp.Show,),
    "create_user": (exp.Command,),
    "haversine": ("HAVERSINE",),
    "hex_string": (exp.HexString,),
    "sha256": (exp.SHA2, exp.SHA2Digest, "SHA2_HEX", "SHA2_BINARY"),
    "create_clone": (exp.Clone,),
    "alias_in_join": (exp.Join,),
    "alias_in_where": ("_FS_OBJECT_CONSTRUCT",),
    "alter_table_strip_cluster_by": (exp.Alter, exp.Command),
    "numeric_agg_implicit_cast": (),  # patches.py has nothing in its place
    "create_stage": (exp.Create,),
    "create_file_format": (exp.Create,),
    "list_stage": (exp.ListStage,),
    "put_stage": (exp.Put,),
    "create_table_as": (exp.Create,),
}
# These kinds are whole statements: nothing within one is of these kinds.
_STATEMENTS: tuple[type[exp.Expr], ...] = (exp.Create, exp.Alter, exp.Drop, exp.Comment, exp.Show, exp.Use)
_KINDS = Kinds(need for needs in NEEDS.values() for need in needs if not isinstance(need, str))
_UPPER = "upper_case_unquoted_identifiers"
_names: dict[CodeType, str] = {}


def name_of(pass_: Callable[..., Any]) -> str:
    """Upstream's name of a pass, which a lambda of its chain calls as ``transforms.<name>``; empty where it is not known."""
    code = pass_.__code__
    if code not in _names:
        written = code.co_names if pass_.__name__ == "<lambda>" else (pass_.__name__,)
        known = [name for name in written if name in NEEDS or name == _UPPER]
        ours = [one.name for one in PATCHES if one.replacement is pass_]
        _names[code] = (ours or known or [""])[0]
    return _names[code]


class Tree:
    """A statement's tree that takes part in upstream's chain of passes."""

    def __init__(self, tree: exp.Expr) -> None:
        self.tree = tree
        self._found: set[Need] | None = None

    def transform(self, pass_: Callable[..., Any], *, copy: bool = True, **settings: Any) -> Tree:
        """Run a pass where it may change something."""
        name = name_of(pass_)
        if name == _UPPER:
            _in_upper_case(self.tree)
            return self
        if name:
            found = [need for need in NEEDS[name] if need in self._there()]
            if not found:
                return self
            if all(need in _STATEMENTS and isinstance(self.tree, need) for need in found):  # type: ignore[arg-type]
                self.tree = pass_(self.tree, **settings)
                self._found = None
                return self
        self.tree = self.tree.transform(pass_, copy=copy, **settings)
        self._found = None
        return self

    def _there(self) -> set[Need]:
        """What of all passes need is in the tree."""
        if self._found is None:
            self._found = set()
            for node in self.tree.walk():
                self._found.update(_KINDS.of(node))
                kind = type(node)
                if kind is exp.DataType:
                    self._found.add(f"type {getattr(node.this, 'name', '')}")
                elif kind in (exp.Identifier, exp.Anonymous) and isinstance(node.this, str):
                    self._found.add(node.this.upper())
        return self._found


def _in_upper_case(tree: exp.Expr) -> None:
    """What ``upper_case_unquoted_identifiers`` does, without a copy of each name."""
    for node in tree.find_all(exp.Identifier):
        if not node.args.get("quoted") and isinstance(node.this, str):
            node.set("this", node.this.upper())

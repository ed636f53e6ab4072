"""Requests that the API accepts. Where Metabase refuses an unknown key, so do these."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    StringConstraints,
    model_validator,
)

from .errors import ApiError

NAME_BOUND = 254  # characters, as Metabase's columns hold of the name of a card, a dashboard or a database
ENTITY_ID = r"^[A-Za-z0-9_-]{21}$"


def not_here(what: str) -> ApiError:
    """The refusal of a feature of Metabase that this server has not."""
    return ApiError(501, f"not emulated: {what}. Nothing was changed.")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("value must be a non-blank string.")
    return text


def _short(text: str) -> str:
    if len(text) > NAME_BOUND:  # what PostgreSQL says to Metabase
        raise ValueError(f"value too long for type character varying({NAME_BOUND})")
    return text


# As they were given: Metabase does not trim.
Text = Annotated[str, AfterValidator(_not_blank)]
Name = Annotated[Text, AfterValidator(_short)]
PositiveInt = Annotated[int, Field(ge=1)]


def _strong(password: str) -> str:
    if len(password) < 6 or not any(character.isdigit() for character in password):
        raise ValueError("a password needs at least 6 characters, one of them a digit")
    return password


def _email(email: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise ValueError("this is no e-mail address")
    return email.lower()


class Open(BaseModel):
    """A body whose further keys are ignored, but for those that ask for what is not here."""

    not_emulated: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_here(cls, body: Any) -> Any:
        """ApiError 501 names a key that asks for a feature of Metabase that is not here."""
        for name in cls.not_emulated if isinstance(body, dict) else ():
            if body.get(name) not in (None, False, [], {}):
                raise not_here(name)
        return body


class Closed(Open):
    """A body in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


class SetupUser(Open):
    """The first administrator."""

    email: Annotated[str, AfterValidator(_email)]
    password: Annotated[str, AfterValidator(_strong)]
    first_name: Text | None = None
    last_name: Text | None = None


class SetupPrefs(Open):
    """Preferences of the site."""

    site_name: Text


class Setup(Open):
    """POST /api/setup."""

    token: Text
    user: SetupUser
    prefs: SetupPrefs


class Login(Open):
    """POST /api/session."""

    username: Text
    password: Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class PasswordChange(Open):
    """PUT /api/user/:id/password."""

    password: Annotated[str, AfterValidator(_strong)]
    old_password: str | None = None


class NewDatabase(Open):
    """POST /api/database."""

    name: Name
    engine: Literal["snowflake"]
    details: dict[str, Any]
    is_full_sync: bool = True
    is_on_demand: bool = False


class DatabaseUpdate(Open):
    """PUT /api/database/:id; what is absent stays."""

    name: Name | None = None
    engine: Literal["snowflake"] | None = None
    details: dict[str, Any] | None = None


class NewCollection(Closed):
    """POST /api/collection."""

    not_emulated = ("namespace", "authority_level")

    name: Text
    description: Text | None = None
    parent_id: PositiveInt | None = None
    namespace: Any = None
    authority_level: Any = None


class CollectionUpdate(Closed):
    """PUT /api/collection/:id."""

    not_emulated = ("authority_level", "parent_id")

    name: Text | None = None
    description: Text | None = None
    archived: bool | None = None
    authority_level: Any = None
    parent_id: Any = None


def _tag_type(kind: str) -> str:
    if kind in ("dimension", "temporal-unit", "card", "snippet", "table"):
        raise not_here(f"template tags of type {kind}")
    if kind not in ("text", "number", "date", "boolean"):
        raise ValueError("unknown type of a template tag")
    return kind


def _card_type(kind: str | None) -> str | None:
    if kind in ("model", "metric"):
        raise not_here(f"cards of type {kind}")
    if kind not in ("question", None):
        raise ValueError("a card is a question, a model or a metric")
    return kind


def _as_mbql_5(query: Any) -> Any:
    """A query in the dialect in which it is kept; ApiError 501 where it is not SQL."""
    if not isinstance(query, dict):
        return query
    if "lib/type" not in query and query.get("type") == "native" and isinstance(query.get("native"), dict):
        native = query["native"]
        stage = {"lib/type": "mbql.stage/native", "native": native.get("query")}
        if native.get("template-tags"):
            stage["template-tags"] = native["template-tags"]
        return {"lib/type": "mbql/query", "database": query.get("database"), "stages": [stage]}
    stages = query.get("stages")
    kinds = (
        [one.get("lib/type") for one in stages if isinstance(one, dict)] if isinstance(stages, list) else []
    )
    if query.get("type") == "query" or "mbql.stage/mbql" in kinds:
        raise not_here("questions that are not SQL")
    return query


class TemplateTag(Open):
    """A variable of a native query whose value is put in as it is."""

    name: Annotated[str, StringConstraints(pattern=r"^\w+$")]
    display_name: Text = Field(alias="display-name")
    type: Annotated[str, AfterValidator(_tag_type)]
    id: Text | None = None
    required: bool = False
    default: Any = None


def _by_name(tags: Any) -> Any:
    """Template tags by their names; since 0.63 the list is what is kept, and a map is still taken."""
    if not isinstance(tags, list):
        return tags or {}
    found: dict[Any, Any] = {}
    for tag in tags:
        name = tag.get("name") if isinstance(tag, dict) else None
        if not isinstance(name, str) or name in found:
            raise ValueError("every template tag must be a map with a name of its own")
        found[name] = tag
    return found


def _named_as_keyed(tags: dict[str, TemplateTag]) -> dict[str, TemplateTag]:
    for key, tag in tags.items():
        if key != tag.name:
            raise ValueError(f"the template tag {key} names itself {tag.name}")
    return tags


class NativeStage(Open):
    """The one stage of a native query, in MBQL 5."""

    lib_type: Literal["mbql.stage/native"] = Field(alias="lib/type")
    native: Text
    template_tags: Annotated[
        dict[str, TemplateTag], AfterValidator(_named_as_keyed), BeforeValidator(_by_name)
    ] = Field(alias="template-tags", default={})


class Query(Open):
    """A native query in MBQL 5; the only kind that this server runs."""

    lib_type: Literal["mbql/query"] = Field(alias="lib/type")
    database: PositiveInt
    stages: Annotated[list[NativeStage], Field(min_length=1, max_length=1)]


SqlQuery = Annotated[Query, BeforeValidator(_as_mbql_5)]
_CARD_NOT_EMULATED = (
    "cache_ttl",
    "collection_position",
    "dashboard_id",
    "dashboard_tab_id",
    "embedding_params",
    "embedding_type",
    "enable_embedding",
)


class NewCard(Closed):
    """POST /api/card."""

    not_emulated = _CARD_NOT_EMULATED

    name: Name
    dataset_query: SqlQuery
    display: Name
    visualization_settings: dict[str, Any]
    entity_id: Annotated[str, StringConstraints(pattern=ENTITY_ID)] | None = None
    description: Text | None = None
    collection_id: PositiveInt | None = None
    type: Annotated[str | None, AfterValidator(_card_type)] = None
    parameters: list[dict[str, Any]] | None = None
    parameter_mappings: list[dict[str, Any]] | None = None
    result_metadata: Any = None
    cache_ttl: Any = None
    collection_position: Any = None
    dashboard_id: Any = None
    dashboard_tab_id: Any = None


class CardUpdate(Open):
    """PUT /api/card/:id; a whole answer of GET may be sent back."""

    not_emulated = _CARD_NOT_EMULATED

    name: Name | None = None
    dataset_query: SqlQuery | None = None
    display: Name | None = None
    visualization_settings: dict[str, Any] | None = None
    description: str | None = None
    collection_id: PositiveInt | None = None
    type: Annotated[str | None, AfterValidator(_card_type)] = None
    archived: bool | None = None
    parameters: list[dict[str, Any]] | None = None
    parameter_mappings: list[dict[str, Any]] | None = None


class Parameter(Open):
    """A filter of a dashboard; its values may come from a card's column."""

    id: Text
    type: Text
    name: str | None = None
    slug: str | None = None
    default: Any = None
    values_source_type: Literal["static-list", "card"] | None = None
    values_source_config: dict[str, Any] | None = None


class NewDashboard(Closed):
    """POST /api/dashboard."""

    not_emulated = ("cache_ttl", "collection_position")

    name: Name
    description: str | None = None
    collection_id: PositiveInt | None = None
    parameters: list[Parameter] | None = None
    cache_ttl: Any = None
    collection_position: Any = None


class ParameterMapping(Open):
    """What a filter sets in a dashcard: ``["variable", ["template-tag", name]]`` is a variable of its query."""

    parameter_id: Text
    target: list[Any]
    card_id: PositiveInt | None = None


class Series(Open):
    """A further card that a dashcard draws."""

    id: PositiveInt


class Dashcard(Open):
    """A place on the 24-column grid; a negative id is a new one, also of the tab. Without a card it is a text."""

    not_emulated = ("action_id", "inline_parameters")

    id: int
    card_id: PositiveInt | None = None
    row: Annotated[int, Field(ge=0)]
    col: Annotated[int, Field(ge=0, le=23)]
    size_x: Annotated[int, Field(ge=1, le=24)]
    size_y: Annotated[int, Field(ge=1)]
    dashboard_tab_id: int | None = None
    visualization_settings: dict[str, Any] | None = None
    parameter_mappings: list[ParameterMapping] | None = None
    series: list[Series] | None = None


class Tab(Open):
    """A tab of a dashboard; a negative id is a new one."""

    id: int
    name: Text
    position: Annotated[int, Field(ge=0)] | None = None


class DashboardUpdate(Open):
    """PUT /api/dashboard/:id; ``dashcards`` and ``tabs``, where one is given, are the whole arrays.

    "The request body should be a JSON object with the same structure as the response from GET", says docs/api.json.
    """

    not_emulated = (
        "cache_ttl",
        "collection_position",
        "embedding_params",
        "embedding_type",
        "enable_embedding",
    )

    name: Name | None = None
    description: str | None = None
    collection_id: PositiveInt | None = None
    archived: bool | None = None
    width: Literal["fixed", "full"] | None = None
    parameters: list[Parameter] | None = None
    dashcards: list[Dashcard] | None = None
    tabs: list[Tab] | None = None


class QueryValues(Open):
    """POST …/query: values of the query's variables, or of the dashboard's filters."""

    parameters: list[dict[str, Any]] | None = None


class TableUpdate(Open):
    """PUT /api/table/:id."""

    display_name: Text | None = None
    description: str | None = None
    caveats: str | None = None
    points_of_interest: str | None = None
    visibility_type: Literal["hidden", "technical", "cruft"] | None = None
    entity_type: str | None = None
    show_in_getting_started: bool | None = None
    field_order: Literal["alphabetical", "custom", "database", "smart"] | None = None


class FieldUpdate(Open):
    """PUT /api/field/:id."""

    display_name: Text | None = None
    description: str | None = None
    caveats: str | None = None
    points_of_interest: str | None = None
    semantic_type: str | None = None
    coercion_strategy: str | None = None
    fk_target_field_id: PositiveInt | None = None
    visibility_type: Literal["details-only", "hidden", "normal", "retired", "sensitive"] | None = None
    has_field_values: Literal["list", "search", "none", "auto-list"] | None = None
    settings: dict[str, Any] | None = None


class Dataset(Query):
    """POST /api/dataset: a query that no card keeps."""

    parameters: list[dict[str, Any]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, body: Any) -> Any:
        parameters = body.get("parameters") if isinstance(body, dict) else None
        query = _as_mbql_5(body)
        return {**query, "parameters": parameters} if isinstance(query, dict) else query


class NewGroup(Open):
    """POST /api/permissions/group."""

    name: Text


class DatabasePermissions(Closed):
    """What a group may with a database; a map goes by schema."""

    view_data: str | dict[str, Any] | None = Field(alias="view-data", default=None)
    create_queries: str | dict[str, Any] | None = Field(alias="create-queries", default=None)
    download: Any = None


class PermissionsGraph(Open):
    """PUT /api/permissions/graph; groups and databases that are absent stay as they are."""

    revision: int | None = None
    groups: dict[str, dict[str, DatabasePermissions]]


class CollectionGraph(Open):
    """PUT /api/collection/graph; groups and collections that are absent stay as they are."""

    revision: int | None = None
    groups: dict[str, dict[str, Literal["read", "write", "none"]]]


class NewApiKey(Open):
    """POST /api/api-key."""

    name: Text
    group_id: PositiveInt


class FieldOrder(RootModel[list[PositiveInt]]):
    """PUT /api/table/:id/fields/order: ids of fields."""

"""Requests that the API accepts. Where Metabase refuses an unknown key, so do these."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]
PositiveInt = Annotated[int, Field(ge=1)]
ENTITY_ID = r"^[A-Za-z0-9_-]{21}$"


def _strong(password: str) -> str:
    if len(password) < 6 or not any(character.isdigit() for character in password):
        raise ValueError("a password needs at least 6 characters, one of them a digit")
    return password


def _email(email: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise ValueError("this is no e-mail address")
    return email.lower()


class Open(BaseModel):
    """A body whose further keys are ignored."""


class Closed(BaseModel):
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


class NewDatabase(Open):
    """POST /api/database."""

    name: Text
    engine: Literal["snowflake"]
    details: dict[str, Any]
    is_full_sync: bool = True
    is_on_demand: bool = False


class DatabaseUpdate(Open):
    """PUT /api/database/:id; what is absent stays."""

    name: Text | None = None
    engine: Literal["snowflake"] | None = None
    details: dict[str, Any] | None = None


class NewCollection(Closed):
    """POST /api/collection."""

    name: Text
    description: str | None = None
    parent_id: PositiveInt | None = None


class CollectionUpdate(Closed):
    """PUT /api/collection/:id."""

    name: Text | None = None
    description: str | None = None
    archived: bool | None = None


class TemplateTag(Open):
    """A variable of a native query whose value is put in as it is."""

    name: Annotated[str, StringConstraints(pattern=r"^\w+$")]
    display_name: Text = Field(alias="display-name")
    type: Literal["text", "number", "date"]
    id: Text | None = None
    required: bool = False
    default: Any = None


def _named_as_keyed(tags: dict[str, TemplateTag]) -> dict[str, TemplateTag]:
    for key, tag in tags.items():
        if key != tag.name:
            raise ValueError(f"the template tag {key} names itself {tag.name}")
    return tags


class NativeStage(Open):
    """The one stage of a native query, in MBQL 5."""

    lib_type: Literal["mbql.stage/native"] = Field(alias="lib/type")
    native: Text
    template_tags: Annotated[dict[str, TemplateTag], AfterValidator(_named_as_keyed)] = Field(
        alias="template-tags", default={}
    )


class Query(Open):
    """A native query in MBQL 5; the only kind that this server runs."""

    lib_type: Literal["mbql/query"] = Field(alias="lib/type")
    database: PositiveInt
    stages: Annotated[list[NativeStage], Field(min_length=1, max_length=1)]


class NewCard(Closed):
    """POST /api/card."""

    name: Text
    dataset_query: Query
    display: Text
    visualization_settings: dict[str, Any]
    entity_id: Annotated[str, StringConstraints(pattern=ENTITY_ID)] | None = None
    description: Text | None = None
    collection_id: PositiveInt | None = None
    type: Literal["question"] | None = None


class CardUpdate(Closed):
    """PUT /api/card/:id."""

    name: Text | None = None
    dataset_query: Query | None = None
    display: Text | None = None
    visualization_settings: dict[str, Any] | None = None
    description: str | None = None
    collection_id: PositiveInt | None = None
    type: Literal["question"] | None = None
    archived: bool | None = None


class NewDashboard(Closed):
    """POST /api/dashboard."""

    name: Text
    description: str | None = None
    collection_id: PositiveInt | None = None


class Parameter(Open):
    """A filter of a dashboard; its values may come from a card's column."""

    id: Text
    type: Text
    name: str | None = None
    slug: str | None = None
    default: Any = None
    values_source_type: Literal["static-list", "card"] | None = None
    values_source_config: dict[str, Any] | None = None


class ParameterMapping(Open):
    """What a filter sets in a dashcard: ``["variable", ["template-tag", name]]`` is a variable of its query."""

    parameter_id: Text
    target: list[Any]
    card_id: PositiveInt | None = None


class Series(Closed):
    """A further card that a dashcard draws."""

    id: PositiveInt


class Dashcard(Closed):
    """A card's place on the 24-column grid; a negative id is a new one, also of the tab."""

    id: int
    card_id: PositiveInt
    row: Annotated[int, Field(ge=0)]
    col: Annotated[int, Field(ge=0, le=23)]
    size_x: Annotated[int, Field(ge=1, le=24)]
    size_y: Annotated[int, Field(ge=1)]
    dashboard_tab_id: int | None = None
    visualization_settings: dict[str, Any] = {}
    parameter_mappings: list[ParameterMapping] = []
    series: list[Series] = []


class Tab(Closed):
    """A tab of a dashboard; a negative id is a new one."""

    id: int
    name: Text
    position: Annotated[int, Field(ge=0)] | None = None


class DashboardUpdate(Closed):
    """PUT /api/dashboard/:id; ``dashcards`` and ``tabs``, where one is given, are the whole arrays."""

    name: Text | None = None
    description: str | None = None
    collection_id: PositiveInt | None = None
    archived: bool | None = None
    width: Literal["fixed", "full"] | None = None
    parameters: list[Parameter] | None = None
    dashcards: list[Dashcard] | None = None
    tabs: list[Tab] | None = None


class QueryValues(Open):
    """POST …/query: values of the query's variables, or of the dashboard's filters."""

    parameters: list[dict[str, Any]] = []


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

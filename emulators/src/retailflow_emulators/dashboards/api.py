"""Every path of the API, and a sentence for what is not here."""

from __future__ import annotations

import re

from starlette.routing import Route

from . import api_content, api_data, api_people
from .answers import API_VERSION
from .calls import Call
from .endpoints import Access, Routes, endpoint_of
from .errors import ApiError
from .service import Service

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# The first parts of the paths that docs/api.json of metabase/metabase describes.
_METABASE = frozenset(
    re.findall(
        r"\S+",
        "action activity agent alert analytics api-key automagic-dashboards bookmark bug-reporting cache "
        "card cards channel cloud-migration collection comment dashboard database dataset docs document "
        "ee eid-translation email embed embed-theme field frontend-errors geojson glossary google health "
        "ldap logger login-history measure metabot metric model-index moderation-review "
        "native-query-snippet notification notify oauth permissions persist premium-features "
        "preview_embed product-feedback public pulse revision search segment session setting setup slack "
        "table task testing tiles timeline timeline-event transform transform-job transform-tag upload "
        "user user-key-value util ",
    )
)


def routes(service: Service) -> list[Route]:
    """The paths that are here; any other below /api is refused with a sentence."""
    here = Routes(service)
    here.add("GET", "/health", Access.PUBLIC, lambda call: {"status": "ok"})
    for part in (api_people, api_content, api_data):
        part.add_routes(here, service)
    elsewhere = endpoint_of(service, _not_here, Access.READERS)
    return [*here.made, Route("/api/{path:path}", elsewhere, methods=_METHODS)]


def _not_here(call: Call) -> None:
    path = call.request.url.path
    if path.removeprefix("/api/").split("/")[0] not in _METABASE:
        raise ApiError(404, "API endpoint does not exist.")
    raise ApiError(
        501,
        f"not emulated: {call.request.method} {path}. This is RetailFlow's embedded dashboard server, not Metabase;"
        f" it serves a part of the API of Metabase {API_VERSION}. Nothing was changed.",
    )

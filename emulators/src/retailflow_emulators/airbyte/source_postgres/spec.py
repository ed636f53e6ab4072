"""What the source wants to be told, in the terms of Airbyte's own source-postgres."""

from __future__ import annotations

from ..protocol import JsonObject

OVERLAP_SECONDS = 3600

_STANDARD: JsonObject = {
    "title": "Standard",
    "description": "By a cursor column; deleted rows are never noticed.",
    "required": ["method"],
    "properties": {"method": {"type": "string", "const": "Standard"}},
}
_CDC: JsonObject = {
    "title": "Logical Replication (CDC)",
    "description": "From the write-ahead log: inserts, updates and deletes.",
    "required": ["method", "replication_slot", "publication"],
    "properties": {
        "method": {"type": "string", "const": "CDC"},
        "plugin": {"type": "string", "enum": ["pgoutput"], "default": "pgoutput"},
        "replication_slot": {"type": "string", "title": "Replication Slot", "pattern": "^[a-z0-9_]{1,63}$"},
        "publication": {"type": "string", "title": "Publication", "minLength": 1},
        "lsn_commit_behaviour": {
            "type": "string",
            "enum": ["After loading Data in the destination"],
            "default": "After loading Data in the destination",
        },
        "heartbeat_action_query": {
            "type": "string",
            "default": "",
            "description": "A statement that is run now and then while the log is read, such as an update of a table in "
            "the publication: the slot then moves on even where nobody writes to the replicated tables",
        },
        "invalid_cdc_cursor_position_behavior": {
            "type": "string",
            "enum": ["Fail sync", "Re-sync data"],
            "default": "Fail sync",
            "description": "Has no effect, as in source-postgres: a slot that no longer has the changes since the last "
            "sync is an error until it is made again and the connection is refreshed",
        },
    },
}


def _ssl_mode(mode: str) -> JsonObject:
    """One choice of ``ssl_mode`` with its fields, as SourcePostgresVerifyFull and its neighbours in Airbyte's API have them."""
    verified = mode.startswith("verify-")
    authority: JsonObject = {
        "ca_certificate": {
            "type": "string",
            "title": "CA certificate",
            "airbyte_secret": True,
            "pattern": "-----BEGIN CERTIFICATE-----",
        }
    }
    return {
        "title": mode,
        "required": ["mode", "ca_certificate"] if verified else ["mode"],
        "additionalProperties": False,
        "properties": {"mode": {"type": "string", "const": mode}, **(authority if verified else {})},
    }


_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

SPEC: JsonObject = {
    "protocol_version": "0.2.0",
    "documentationUrl": "https://docs.airbyte.com/integrations/sources/postgres",
    "connectionSpecification": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Postgres (embedded)",
        "type": "object",
        "required": ["host", "port", "database", "username"],
        "properties": {
            "host": {"type": "string", "title": "Host"},
            "port": {"type": "integer", "title": "Port", "minimum": 1, "maximum": 65535, "default": 5432},
            "database": {"type": "string", "title": "Database"},
            "schemas": {"type": "array", "items": {"type": "string"}, "minItems": 1, "default": ["public"]},
            "username": {"type": "string", "title": "Username"},
            "password": {"type": "string", "title": "Password", "airbyte_secret": True},
            "ssl_mode": {
                "type": "object",
                "required": ["mode"],
                "description": "Of the fields of source-postgres, those of a client certificate are not emulated",
                "properties": {"mode": {"enum": list(_SSL_MODES)}},
                "oneOf": [_ssl_mode(mode) for mode in _SSL_MODES],
            },
            "replication_method": {
                "type": "object",
                "title": "Replication Method",
                "required": ["method"],
                "properties": {"method": {"enum": ["Standard", "CDC"]}},
                "oneOf": [_STANDARD, _CDC],
            },
            "tunnel_method": {
                "type": "object",
                "required": ["tunnel_method"],
                "properties": {"tunnel_method": {"enum": ["NO_TUNNEL"]}},
            },
            "cursor_overlap_seconds": {
                "type": "integer",
                "minimum": 0,
                "default": OVERLAP_SECONDS,
                "description": "Longest time that a writing transaction may take (embedded Airbyte only)",
            },
        },
    },
}

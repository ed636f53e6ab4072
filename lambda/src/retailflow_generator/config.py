"""Settings of the function, from its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import URL

from .parameter import Parameter
from .request import MAX_ROWS

# Every three minutes that is 2,400 order lines a day: what 5,000 customers may buy in a shop of 35 products.
DEFAULT_ROWS = 5


class InvalidConfigurationError(ValueError):
    """An environment variable of the function is missing or wrong."""


@dataclass(frozen=True)
class Settings:
    """Where PostgreSQL is, and how many rows an event brings that does not say (``GENERATOR_ROWS``).

    The password is in ``DB_PASSWORD``, or in the parameter that ``DB_PASSWORD_PARAMETER`` names: then ``password`` is empty.
    ``authority`` is the certificate in PEM by which the server is known (``DB_AUTHORITY``): the session is encrypted then, and a
    server that this authority has not signed under the name ``host`` is refused. Without it nothing is verified.
    ``delete_share`` takes the place of ``life.delete`` in shop.toml (``GENERATOR_DELETE_SHARE``); None leaves it.
    """

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    default_rows: int = DEFAULT_ROWS
    connect_timeout: int = 5
    delete_share: float | None = None
    authority: str = field(default="", repr=False)
    parameter: Parameter | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read ``DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD, DB_AUTHORITY, DB_CONNECT_TIMEOUT`` and ``GENERATOR_*``.

        ``DB_PASSWORD_PARAMETER`` needs ``AWS_ENDPOINT_URL_SSM``, by the name that AWS's SDKs have for it, and ``AWS_REGION``.
        """

        def text(name: str) -> str:
            if not env.get(name):
                raise InvalidConfigurationError(f"{name} is not set in the function's environment")
            return env[name]

        def number(name: str, default: int, high: int) -> int:
            value = env.get(name, str(default))
            if not (value.isascii() and value.isdigit() and 1 <= int(value) <= high):
                raise InvalidConfigurationError(
                    f"{name} must be a whole number from 1 to {high}, got {value!r}"
                )
            return int(value)

        def share(name: str) -> float | None:
            if not (value := env.get(name)):
                return None
            try:
                number = float(value)
            except ValueError:
                number = -1.0
            if not 0 <= number <= 1:
                raise InvalidConfigurationError(f"{name} must be a number from 0 to 1, got {value!r}")
            return number

        def parameter() -> Parameter | None:
            if not env.get("DB_PASSWORD_PARAMETER"):
                return None
            if env.get("DB_PASSWORD"):
                raise InvalidConfigurationError("Set DB_PASSWORD or DB_PASSWORD_PARAMETER, not both")
            endpoint = text("AWS_ENDPOINT_URL_SSM")
            if not re.fullmatch(r"https?://[a-z0-9.:-]+", endpoint):
                raise InvalidConfigurationError(
                    f"AWS_ENDPOINT_URL_SSM must be http:// or https:// with a host and nothing behind it, got {endpoint!r}"
                )
            return Parameter(text("DB_PASSWORD_PARAMETER"), endpoint, text("AWS_REGION"))

        kept = parameter()
        authority = env.get("DB_AUTHORITY", "")
        if authority and "-----BEGIN CERTIFICATE-----" not in authority:
            raise InvalidConfigurationError("DB_AUTHORITY must be a certificate in PEM")
        return cls(
            host=text("DB_HOST"),
            port=number("DB_PORT", 5432, 65535),
            database=text("DB_NAME"),
            user=text("DB_USER"),
            password="" if kept else text("DB_PASSWORD"),
            parameter=kept,
            default_rows=number("GENERATOR_ROWS", cls.default_rows, MAX_ROWS),
            connect_timeout=number("DB_CONNECT_TIMEOUT", cls.connect_timeout, 60),
            delete_share=share("GENERATOR_DELETE_SHARE"),
            authority=authority,
        )

    @property
    def url(self) -> URL:
        """The SQLAlchemy URL; it hides the password when printed, and has none where that is a parameter."""
        return URL.create(
            "postgresql+psycopg2", self.user, self.password or None, self.host, self.port, self.database
        )

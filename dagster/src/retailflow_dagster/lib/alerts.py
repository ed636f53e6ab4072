"""Report to a web address that a run failed. Off while no address is set; never a reason for anything to fail."""

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from .secrets import masked

URL = "ALERT_WEBHOOK_URL"
#: Variables whose values must not leave, should an error message quote one.
SECRETS = (
    "AIRBYTE_CLIENT_SECRET",
    "DAGSTER_PG_PASSWORD",
    "SHOP_PG_PASSWORD",
    "SNOWFLAKE_PRIVATE_KEY",
    URL,
)
#: Seconds for one message: to connect, to send, to be answered, all together.
PATIENCE = 10.0
#: Characters of an error that a message quotes.
ENOUGH = 1000
#: Characters of an address's path below which it holds no token.
LONG_PATH = 8


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text with the values of the secret variables masked, in every encoding. Of an address also its path, which
    error messages quote alone.
    """
    secrets = [environment.get(name, "") for name in SECRETS]
    address = urlsplit(environment.get(URL, ""))
    if len(address.path) >= LONG_PATH:
        secrets += [address.path, f"{address.path}?{address.query}"]
    return masked(text, secrets)


def message(job: str, run_id: str, tags: Mapping[str, str], errors: Iterable[str]) -> dict[str, Any]:
    """What is sent: `text` for chat rooms (Slack, Mattermost and others show it), the rest for machines."""
    # Cut before, for speed, and after: the first cut may leave half a secret at the end.
    error = without_secrets(" | ".join(errors)[: 20 * ENOUGH])[:ENOUGH]
    return {
        "text": f"RetailFlow: run {run_id} of {job} failed. {error}",
        "event": "run_failed",
        "job": job,
        "run_id": run_id,
        "tags": {key: value for key, value in tags.items() if key.startswith("retailflow/")},
        "error": error,
    }


def send(url: str, body: Mapping[str, Any]) -> str | None:
    """Posts the body as JSON. Returns what went wrong, or None; comes back after PATIENCE seconds in any case."""
    problems: list[str] = [f"no answer within {PATIENCE:g} s"]

    def post() -> None:
        try:
            answer = requests.post(url, json=body, timeout=PATIENCE, allow_redirects=False, stream=True)
            answer.close()
            problems[0] = "" if answer.ok and not answer.is_redirect else f"it answered {answer.status_code}"
        except requests.RequestException as error:
            # The message of the exception holds the address, which is a secret where it holds a token.
            problems[0] = type(error).__name__

    # A time-out of requests is one between two bytes; the thread makes it one for all of them.
    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return problems[0] or None

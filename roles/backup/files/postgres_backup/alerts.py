"""Messages to the address for alerts."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

from .basics import Json


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer that sends a message elsewhere is an error."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def tell(config: Json, event: str, text: str) -> bool:
    """Send a message to the address for alerts; False where there is none or it does not take it."""
    url = config.get("alert_webhook")
    if not url:
        return False
    for secret_one in (url, (config.get("assume_role") or {}).get("secret_key")):
        text = text.replace(secret_one, "***") if secret_one else text
    body = json.dumps({"text": f"RetailFlow: {text}", "event": event}).encode()
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        urllib.request.build_opener(NoRedirect).open(request, timeout=10).close()
    except (OSError, ValueError) as error:
        # Without its text, which may hold the address.
        print(f"error: the alert was not sent: {type(error).__name__}", file=sys.stderr, flush=True)
        return False
    return True

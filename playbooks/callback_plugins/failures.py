"""Ansible callback: a run that failed ends with the sentence of each host that failed."""

from __future__ import annotations

import atexit
import re
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: failures
type: aggregate
short_description: Repeat at the end why a run failed
description:
  - Ansible prints a failure where it happens, with everything that the module returned, hundreds of lines above the end.
    This repeats the message alone, below the recap, one for each host that failed or could not be reached.
  - Where AWS refused a permission, it adds which one, and which file of docs/policies holds it.
requirements: [enable it in callbacks_enabled]
"""


def message(result: dict[str, Any]) -> str:
    """The message of a failed task; that of the first item that failed where it was a loop."""
    for item in result.get("results") or []:
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
            return message(item)
    for key in ("msg", "stderr", "censored", "stdout"):
        if text := str(result.get(key) or "").strip():
            return text
    return "it gave no reason"


POLICIES = Path(__file__).parents[2] / "docs/policies"
# The words of AWS's services, of botocore, of Terraform's provider and of credentials that are none.
_REFUSED = re.compile(
    r"is not authorized to perform: ([a-z0-9-]+:\w+)(?: on resource: \"?(\S+?)\"?(?=[.,\s]|$))?"
)
_CODES = re.compile(r"\b(UnauthorizedOperation|AccessDenied(?:Exception)?)\b")
_CALLS = (
    re.compile(r"when calling the (\w+) operation"),
    re.compile(r"operation error ([\w ]+: \w+)"),
)
_UNKNOWN = re.compile(
    r"\b(AuthFailure|InvalidClientTokenId|UnrecognizedClientException|InvalidAccessKeyId|SignatureDoesNotMatch"
    r"|InvalidSignatureException|ExpiredToken(?:Exception)?)\b"
)
_ENCODED = re.compile(r"Encoded authorization failure message: (\S{60,})")


def advice(text: str, folder: Path = POLICIES) -> str:
    """What to do about a refusal of AWS's, empty where the text tells of none."""
    flat = " ".join(text.replace("│", " ").split())  # Terraform draws a frame and breaks lines
    if found := _REFUSED.search(flat):
        action, resource = found[1], found[2] or ""
        what = action + (f" on {resource}" if resource else "")
        files = sorted(one.name for one in folder.glob("*.j2") if f'"{action}"' in one.read_text())
        if not files:
            return f"AWS does not let these credentials do {what}, and no file of docs/policies holds that permission."
        if "explicit deny" in flat:
            return (
                f"AWS forbids these credentials {what}: a policy of the account denies it. docs/policies/{files[0]} allows it, "
                "but a deny wins. Ask whoever administers the account."
            )
        return (
            f"AWS does not let these credentials do {what}. docs/policies/{files[0]} holds that permission: `make policy` "
            "writes the documents and says how to give them to a user (docs/security.md). If the user has them, the resource "
            "is not the site's, or is in another region or account."
        )
    if found := _CODES.search(flat):
        call = next(
            (match[1] for match in (one.search(flat) for one in _CALLS) if match),
            "an operation that it does not name",
        )
        encoded = _ENCODED.search(flat)
        decode = (
            f" `aws sts decode-authorization-message --encoded-message {encoded[1]}` says which."
            if encoded
            else ""
        )
        return (
            f"AWS does not let these credentials do {call} ({found[1]}).{decode} The permissions that this project needs are in "
            "docs/policies: `make policy` writes them."
        )
    if found := _UNKNOWN.search(flat):
        return (
            f"AWS does not know these credentials ({found[1]}). Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE; on the local target, `make up` starts the emulated API with the keys of .secrets/local."
        )
    return ""


class CallbackModule(CallbackBase):
    """Remembers the last failure of each host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "failures"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, tuple[str, str]] = {}

    def _keep(self, result: Any) -> None:
        self._last[result.host.get_name()] = (result.task.get_name().strip(), message(result.result))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._keep(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._keep(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        counts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        failed = [host for host, found in counts.items() if found["failures"] or found["unreachable"]]
        # The tables of other callbacks come before it, whatever the order in which Ansible loads them.
        atexit.register(self._tell, [host for host in failed if host in self._last])

    def _tell(self, hosts: list[str]) -> None:
        for host in hosts:
            task, text = self._last[host]
            more = advice(text)
            more = f"\n{more}" if more else ""
            self._display.display(f"\nFAILED on {host}: {task}\n{text}{more}", color="red", stderr=True)

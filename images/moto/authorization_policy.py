"""What the statements of policies say about an action on a resource."""

from __future__ import annotations

import fnmatch
import json
import logging
import re
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("retailflow.iam")


@dataclass(frozen=True)
class Resource:
    """What an action is about: its ARN, empty where that is unknown, and what conditions ask about it."""

    arn: str = ""
    keys: dict[str, list[str]] = field(default_factory=dict)


def each(value: Any) -> list[Any]:
    """A value that may stand alone or in a list, as a list."""
    return value if isinstance(value, list) else [value]


def like(pattern: str, text: str) -> bool:
    """Whether IAM's wildcards, * and ?, match a text."""
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def holds(conditions: dict[str, dict[str, Any]], resource: Resource) -> bool:
    """Whether the conditions of a statement are met; those on an unknown resource's own tags are."""
    for operator, wanted in conditions.items():
        name = re.sub(r"^ForA(ny|ll)Values?:", "", operator)
        optional = name.endswith("IfExists")
        name = name.removesuffix("IfExists")
        for key, values in wanted.items():
            present = resource.keys.get(key)
            if not resource.arn and ":ResourceTag/" in key:
                continue
            if present is None:
                if not (
                    optional
                    or operator.startswith("ForAllValues:")
                    or (name == "Null" and each(values) == ["true"])
                ):
                    return False
                continue
            texts = [str(value) for value in each(values)]
            if name in ("StringEquals", "ArnEquals"):
                met = [text in texts for text in present]
            elif name in ("StringLike", "ArnLike"):
                met = [any(like(one, text) for one in texts) for text in present]
            elif name == "StringNotEquals":
                met = [text not in texts for text in present]
            elif name == "Null":
                met = ["false" in texts]
            else:
                log.error("not emulated: the operator %s of a condition", operator)
                return False
            if not (
                all(met) if operator.startswith("ForAllValues:") or name == "StringNotEquals" else any(met)
            ):
                return False
    return True


def matches(statement: dict[str, Any], action: str, resource: Resource) -> bool:
    """Whether a statement speaks of an action on a resource."""
    named = [one.lower() for one in each(statement.get("Action") or statement.get("NotAction") or [])]
    if any(like(one, action.lower()) for one in named) == ("NotAction" in statement):
        return False
    if resource.arn:
        patterns = each(statement.get("Resource") or statement.get("NotResource") or "*")
        if any(like(one, resource.arn) for one in patterns) == ("NotResource" in statement):
            return False
    return holds(statement.get("Condition") or {}, resource)


def permits(statements: list[dict[str, Any]], action: str, resource: Resource) -> tuple[bool, str]:
    """Whether the statements allow an action on a resource, and what AWS says where they do not."""
    found = [one for one in statements if matches(one, action, resource)]
    if any(one["Effect"] == "Deny" for one in found):
        return False, "with an explicit deny in an identity-based policy"
    return bool(found), f"because no identity-based policy allows the {action} action"


def names_service(document: str | dict[str, Any], action: str, service: str) -> bool:
    """Whether a resource's own policy lets a service act."""
    policy = json.loads(document) if isinstance(document, str) else document
    return any(
        one["Effect"] == "Allow"
        and action in each(one["Action"])
        and isinstance(one.get("Principal"), dict)
        and service in each(one["Principal"].get("Service") or [])
        for one in each(policy["Statement"])
    )

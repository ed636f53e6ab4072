"""What is wrong with an IAM policy, by AWS's own list of actions, resources and condition keys.

`iam_actions.json` is an excerpt of the Service Authorization Reference: of each action that a policy here names, the types of
resources (a star marks those that every request has), the form of their ARNs, and the keys of conditions about tags. The type
without a name holds the keys that belong to the action itself. It is written from the file `iam_definition.json` of the package
parliament (1.6.4; parliament itself needs a setuptools that is older than ours): `python -m tests.aws.policy_lint FILE`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from server_support import ROOT

DATA = Path(__file__).with_name("iam_actions.json")
MANAGED_POLICY_CHARACTERS = 6144  # "IAM and AWS STS quotas", IAM's user guide
# Where policies are; an action is whatever looks like one.
SOURCES = (
    "docs/policies/*.j2",
    "terraform/*.tf",
    "roles/lambda-generator/vars/main.yml",
    "roles/container-service/module_utils/container_service/roles.py",
    "roles/dagster-dbt-container/vars/main.yml",
    "inventory/group_vars/local/main.yml",
)
_ACTION = re.compile(
    r"\b((?:cloudwatch|ec2|ecr|ecs|events|iam|kms|lambda|logs|s3|servicequotas|sqs|ssm|sts|tag):[A-Z][A-Za-z]+)\b"
)
_KEY = re.compile(r":(ResourceTag|RequestTag)/|^ec2:CreateAction$|^iam:(PassedToService|AWSServiceName)$")
_EC2_TYPES = {
    "elastic-ip",
    "image",
    "instance",
    "internet-gateway",
    "key-pair",
    "network-interface",
    "route-table",
    "security-group",
    "security-group-rule",
    "snapshot",
    "subnet",
    "volume",
    "vpc",
    "vpc-endpoint",
}
# AWS knows resources for these, but asks about the whole account where a request names none, as ours do.
_WHOLE_ACCOUNT = {
    "cloudwatch:DescribeAlarms",
    "ecr:DescribeRepositories",
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeVpcAttribute",
    "iam:ListInstanceProfiles",
    "iam:ListRoles",
}


def actions() -> dict[str, dict[str, list[str]]]:
    """Return the excerpt: the types of resources by action, each a list of the ARN's form and the keys."""
    found: dict[str, dict[str, list[str]]] = json.loads(DATA.read_text())
    return found


def each(value: Any) -> list[Any]:
    """Return a value that may stand alone or in a list, as a list."""
    return value if isinstance(value, list) else [value]


def overlaps(pattern: str, form: str) -> bool:
    """Whether a statement's Resource can mean a resource whose ARN has this form: `x` stands for any name in it."""
    parts, forms = pattern.split(":", 5), form.split(":", 5)
    if pattern == "*":
        return True
    if len(parts) != 6 or len(forms) != 6 or parts[2] != forms[2]:
        return False
    # Region and account: empty on both sides or on none.
    if any(bool(mine) != bool(theirs) for mine, theirs in zip(parts[3:5], forms[3:5], strict=True)):
        return False
    expression = (
        re.escape(forms[5]).replace("x", ".*") if re.search(r"\bx\b", forms[5]) else re.escape(forms[5])
    )
    fixed = re.split(r"\bx\b", forms[5])[0]
    start = parts[5].split("*")[0]
    return bool(re.fullmatch(expression, parts[5])) or start.startswith(fixed) or fixed.startswith(start)


def keys_of(statement: dict[str, Any]) -> set[str]:
    """Return the keys of a statement's conditions, with a star in the place of the tag's name."""
    conditions = statement.get("Condition") or {}
    return {re.sub(r"/.*", "/*", key) for wanted in conditions.values() for key in wanted}


def problems(document: dict[str, Any]) -> list[str]:
    """Return what is wrong with a policy of an identity, in sentences."""
    known, found = actions(), []
    statements = each(document["Statement"])
    if len(json.dumps(document, separators=(",", ":"))) > MANAGED_POLICY_CHARACTERS:
        found.append(f"it has more than {MANAGED_POLICY_CHARACTERS} characters")
    if document.get("Version") != "2012-10-17":
        found.append("its version is not 2012-10-17")
    for statement in statements:
        name = statement.get("Sid", "a statement")
        resources = each(statement["Resource"])
        named = each(statement["Action"])
        found += [
            f"{name}: {one} is named twice" for one in sorted({one for one in named if named.count(one) > 1})
        ]
        for action in named:
            if action not in known:
                found.append(f"{name}: there is no action {action}")
                continue
            types = {kind: forms for kind, forms in known[action].items() if kind}
            if "*" in resources:
                if (
                    any(kind.endswith("*") for kind in types)
                    and action not in _WHOLE_ACCOUNT
                    and "ec2:Describe" not in action
                ):
                    found.append(f"{name}: {action} is allowed on everything, though AWS can limit it")
            elif not types:
                found.append(f"{name}: AWS cannot limit {action} to a resource, so it is never allowed")
            elif not any(overlaps(one, forms[0]) for one in resources for forms in types.values()):
                found.append(f"{name}: {action} is about none of its resources")
        for resource in resources:
            forms = [forms[0] for one in named for kind, forms in known.get(one, {}).items() if kind]
            if resource != "*" and not any(overlaps(resource, form) for form in forms):
                found.append(f"{name}: no action is about {resource}")
    return found + unreachable(statements)


def unreachable(statements: list[dict[str, Any]]) -> list[str]:
    """Return the actions that AWS refuses in any case: with a type of resource that no statement allows.

    A statement does so where its Resource is of the type and AWS knows the keys of its conditions for it.
    """
    known, found = actions(), []
    allowing = [one for one in statements if one["Effect"] == "Allow"]
    for action in sorted({one for statement in allowing for one in each(statement["Action"])} & set(known)):
        own = set(known[action].get("", [])[1:])
        mine = [one for one in allowing if action in each(one["Action"])]
        for kind, (form, *keys) in known[action].items():
            if not kind.endswith("*") or any("*" in each(one["Resource"]) for one in mine):
                continue
            if not any(
                keys_of(one) <= own | set(keys)
                and any(overlaps(resource, form) for resource in each(one["Resource"]))
                for one in mine
            ):
                found.append(f"{action}: no statement allows it on a {kind[:-1]}")
    return found


def excerpt(definition: list[dict[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """Return what a file of parliament's says of the actions that our policies name."""
    services = {one["prefix"]: one for one in definition}
    text = "".join(path.read_text() for source in SOURCES for path in sorted(ROOT.glob(source)))
    found = {}
    for action in sorted(set(_ACTION.findall(text))):
        service, name = action.split(":")
        arns = {one["resource"]: one["arn"] for one in services[service]["resources"]}
        for privilege in services[service]["privileges"]:
            if privilege["privilege"] == name:
                found[action] = {
                    one["resource_type"]: [form(arns.get(one["resource_type"].rstrip("*"), "")), *keys(one)]
                    for one in privilege["resource_types"]
                    if service != "ec2" or one["resource_type"].rstrip("*") in _EC2_TYPES | {""}
                }
    return found


def form(arn: str) -> str:
    """Return the form of an ARN, with `x` for each name."""
    return re.sub(r"\$\{[A-Za-z]+\}", "x", re.sub(r"\$\{(Partition|Region|Account)\}", r"\1", arn))


def keys(resource_type: dict[str, Any]) -> list[str]:
    """Return the keys about tags that a type of resource has."""
    named = [key.replace("${TagKey}", "*") for key in resource_type["condition_keys"]]
    return sorted(key for key in named if _KEY.search(key))


if __name__ == "__main__":
    rows = excerpt(json.loads(Path(sys.argv[1]).read_text()))
    lines = ",\n".join(f" {json.dumps(action)}: {json.dumps(types)}" for action, types in rows.items())
    DATA.write_text(f"{{\n{lines}\n}}\n")

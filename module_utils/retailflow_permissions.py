"""Which permissions of IAM policies a caller lacks, asked before anything is made: IAM's policy simulator answers for most.

"Testing IAM policies with the IAM policy simulator", IAM's user guide, and SimulatePrincipalPolicy, IAM's API reference. The
simulator is asked about one resource of the right type at a time, with the condition keys that the statement wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

try:
    from botocore.exceptions import ClientError
except ImportError:
    ClientError = Exception

REFUSED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
AT_ONCE = 4  # calls of the simulator
# The type of resource that an action of EC2 is asked about: the first word that its name holds.
EC2_TYPES = {
    "Address": "elastic-ip/eipalloc-0",
    "RouteTable": "route-table/rtb-0",
    "Route": "route-table/rtb-0",
    "InternetGateway": "internet-gateway/igw-0",
    "Volume": "volume/vol-0",
    "SecurityGroup": "security-group/sg-0",
    "NetworkInterface": "network-interface/eni-0",
    "Subnet": "subnet/subnet-0",
    "KeyPair": "key-pair/x",
    "Instance": "instance/i-0",
    "VpcEndpoint": "vpc-endpoint/vpce-0",
    "Vpc": "vpc/vpc-0",
    "Tags": "vpc/vpc-0",
}


def each(value: Any) -> list[Any]:
    """Return a value that may stand alone or in a list, as a list."""
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Question:
    """Actions of a statement that are allowed or refused about one resource, "*" where AWS limits them to none.

    ``statement`` is its number, ``context`` the condition keys that it wants.
    """

    statement: int
    actions: tuple[str, ...]
    resource: str
    context: tuple[tuple[str, str], ...]


def questions(documents: list[dict[str, Any]], account: str) -> list[Question]:
    """Return what to ask about the statements of policies that allow something."""
    found = []
    statements = [one for document in documents for one in each(document["Statement"])]
    for number, statement in enumerate(one for one in statements if one["Effect"] == "Allow"):
        context: list[tuple[str, str]] = []
        for operator, keys in statement.get("Condition", {}).items():
            for key, values in keys.items():
                if operator == "StringEquals":
                    context.append((key, str(each(values)[0])))
                elif operator == "Null" and each(values) == ["false"]:
                    context.append((key, "CreateVpc"))
        for pattern in each(statement["Resource"]):
            by_resource: dict[str, list[str]] = {}
            for action in each(statement["Action"]):
                by_resource.setdefault(_example(pattern, action, account), []).append(action)
            for resource, actions in by_resource.items():
                if "${" not in resource:  # what people may do to their own user
                    found.append(Question(number, tuple(actions), resource, tuple(context)))
    return found


def _example(pattern: str, action: str, account: str) -> str:
    """Return a resource that a pattern means."""
    if pattern == "*":
        return pattern
    parts = pattern.split(":", 5)
    if parts[4] == "*":
        parts[4] = account
    if parts[2] == "ec2" and parts[5] == "*":
        parts[5] = next((kind for word, kind in EC2_TYPES.items() if word in action), "vpc/vpc-0")
    return ":".join(parts).replace("*", "x")


def principal(arn: str, role: Callable[[str], str]) -> str:
    """Return the user or role whose policies count, of a caller as STS names it; empty where none has policies to ask about.

    ``role`` returns the ARN of a role by its name: that of a session leaves its path out.
    """
    if match := re.fullmatch(r"arn:[^:]+:sts::\d+:assumed-role/([^/]+)/.+", arn):
        return role(match[1])
    return arn if ":user/" in arn else ""


def denied(iam: Any, source: str, asked: list[Question]) -> set[str]:
    """Return the actions that the principal may not do. Raises ClientError where it may not ask.

    An action of a statement counts as allowed if it is for one of the statement's resources: the others may be of a type that
    the action is not about.
    """

    def ask(one: Question) -> set[tuple[int, str]]:
        context = [
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for key, value in one.context
        ]
        pages = iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=source,
            ActionNames=list(one.actions),
            ResourceArns=[one.resource],
            ContextEntries=context,
        )
        results = [result for page in pages for result in page["EvaluationResults"]]
        return {
            (one.statement, result["EvalActionName"])
            for result in results
            if result["EvalDecision"] == "allowed"
        }

    first, *others = asked
    allowed = ask(first)  # alone: who may not ask is told once
    with ThreadPoolExecutor(AT_ONCE) as workers:
        allowed = allowed.union(*workers.map(ask, others))
    wanted = {(one.statement, action) for one in asked for action in one.actions}
    return {action for _, action in wanted - allowed}


def denied_by_dry_run(ec2: Any, site: str, zone: str) -> tuple[set[str], set[str]]:
    """Return what the caller may not make of EC2, and all that was asked: by calls that change nothing."""

    def tags(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": [{"Key": "Project", "Value": site}]}]

    calls: dict[str, Callable[[], Any]] = {
        "ec2:CreateVpc": lambda: ec2.create_vpc(
            DryRun=True, CidrBlock="10.0.0.0/24", TagSpecifications=tags("vpc")
        ),
        "ec2:CreateInternetGateway": lambda: ec2.create_internet_gateway(
            DryRun=True, TagSpecifications=tags("internet-gateway")
        ),
        "ec2:AllocateAddress": lambda: ec2.allocate_address(
            DryRun=True, Domain="vpc", TagSpecifications=tags("elastic-ip")
        ),
        "ec2:CreateVolume": lambda: ec2.create_volume(
            DryRun=True, AvailabilityZone=zone, Size=1, TagSpecifications=tags("volume")
        ),
    }
    found = set()
    for action, call in calls.items():
        try:
            call()
        except ClientError as error:
            if error.response["Error"]["Code"] in REFUSED:
                found.add(action)
    return found, set(calls)

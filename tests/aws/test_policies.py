"""The policies of docs/policies: what AWS's reference says against them, and that the linter itself finds what is wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from server_support import ROOT

from . import aws_support
from .policy_lint import each, problems

DOCUMENTS = aws_support.policies()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_aws_has_nothing_to_object(name: str) -> None:
    assert problems(DOCUMENTS[name]) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_resource_is_limited_to_the_site(name: str) -> None:
    for statement in DOCUMENTS[name]["Statement"]:
        resources = [one for one in each(statement["Resource"]) if one != "*"]
        condition = str(statement.get("Condition", ""))
        for one in resources:
            assert (
                "retailflow" in one.split(":", 5)[5]
                or aws_support.BUCKET in one
                or "/Project': 'retailflow'" in condition
                or statement["Sid"] in ("StartFromAnyImage", "RoleOfEcsItself", "AskAboutOneself")
            ), (statement["Sid"], one)


def test_the_inventory_renders_the_same_documents() -> None:
    facts = yaml.safe_load((ROOT / "inventory/group_vars/all/main.yml").read_text())
    assert {f"retailflow-{name}" for name in ("hosts", "services", "state")} == set(DOCUMENTS)
    assert facts["retailflow_policies"] == ["hosts", "services", "state"]


def changed(name: str, sid: str, **changes: Any) -> dict[str, Any]:
    """A document with one statement changed."""
    document = copy.deepcopy(DOCUMENTS[f"retailflow-{name}"])
    statement = next(one for one in document["Statement"] if one["Sid"] == sid)
    statement |= changes
    return document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (changed("hosts", "Look", Action=["ec2:DescribeInstancez"]), "Look: there is no action ec2:DescribeInstancez"),
        (changed("hosts", "UseWhatIsOurs", Resource="*"), "ec2:TerminateInstances is allowed on everything"),
        (
            changed("services", "QueueOfFailedEvents", Resource="arn:aws:sns:eu-central-1:123456789012:retailflow-x"),
            "sqs:CreateQueue is about none of its resources",
        ),
        (
            changed("services", "Generator", Resource="arn:aws:lambda::123456789012:function:retailflow-*"),
            "lambda:CreateFunction is about none of its resources",
        ),
        (
            changed("services", "ImagesOfTheSite", Action=["ecr:GetAuthorizationToken"]),
            "AWS cannot limit ecr:GetAuthorizationToken to a resource",
        ),
        # An image has no tag of ours, and AWS compares no tag of an interface that is there already.
        (changed("hosts", "StartFromAnyImage", Resource="arn:aws:ec2:eu-central-1::snapshot/*"), "allows it on a image"),
        (
            changed("hosts", "MakeWithTag", Condition={"StringEquals": {"aws:ResourceTag/Project": "retailflow"}}),
            "ec2:CreateVpc: no statement allows it on a vpc",
        ),
        (changed("hosts", "Look", Action=[f"ec2:Describe{number:0200}" for number in range(30)]), "more than 6144"),
    ],
)  # fmt: skip
def test_the_linter_finds_what_aws_would_refuse(document: dict[str, Any], words: str) -> None:
    assert any(words in one for one in problems(document)), problems(document)

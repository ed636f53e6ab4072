"""What the callback `failures` adds where AWS refused a permission: which one, and where the document is that holds it."""

from __future__ import annotations

import failures
import pytest

WHO = "User: arn:aws:iam::123456789012:user/me is not authorized to perform:"
ENCODED = "aB3-_" * 40
BECAUSE = "because no identity-based policy allows the"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # boto3, as our modules and amazon.aws pass it on
        (
            f"An error occurred (AccessDeniedException) when calling the PutRule operation: {WHO} events:PutRule "
            f"on resource: arn:aws:events:eu-west-1:123456789012:rule/shop-x {BECAUSE} events:PutRule action",
            "let these credentials do events:PutRule on arn:aws:events:eu-west-1:123456789012:rule/shop-x. "
            "docs/policies/services.json.j2 holds that permission",
        ),
        # Terraform, with the frame that it draws and the lines that it breaks
        (
            "Error: creating EC2 VPC: operation error EC2: CreateVpc, https response error StatusCode: 403, api error\n"
            f"│ UnauthorizedOperation: You are not authorized to perform this operation. {WHO}\n│ ec2:CreateVpc on resource: "
            f"arn:aws:ec2:eu-west-1:123456789012:vpc/* {BECAUSE}\n│ ec2:CreateVpc action.",
            "do ec2:CreateVpc on arn:aws:ec2:eu-west-1:123456789012:vpc/*. docs/policies/hosts.json.j2 holds",
        ),
        (f'{WHO} s3:PutObject on resource: "arn:aws:s3:::state/key" {BECAUSE} s3:PutObject action', "state.json.j2"),
        (f"{WHO} sqs:PurgeQueue {BECAUSE} sqs:PurgeQueue action", "no file of docs/policies holds that permission"),
        (
            f"{WHO} iam:CreateRole on resource: role x with an explicit deny in a service control policy",
            "AWS forbids these credentials iam:CreateRole",
        ),
        # EC2 where it says nothing in the clear
        (
            "operation error EC2: RunInstances, https response error StatusCode: 403, api error UnauthorizedOperation: You are "
            f"not authorized to perform this operation. Encoded authorization failure message: {ENCODED}",
            "do EC2: RunInstances (UnauthorizedOperation). "
            f"`aws sts decode-authorization-message --encoded-message {ENCODED}`",
        ),
        ("(AccessDenied) when calling the ListBuckets operation: Access Denied", "do ListBuckets (AccessDenied)"),
        ("(InvalidClientTokenId) when calling the GetCallerIdentity operation: The security token", "does not know these"),
        ("api error AuthFailure: AWS was not able to validate the provided access credentials", "does not know these"),
    ],
)  # fmt: skip
def test_a_refusal_is_explained(text: str, words: str) -> None:
    assert words in failures.advice(text), failures.advice(text)


@pytest.mark.parametrize("text", ["", "the disk is full", "Permission denied (publickey)", "AccessDeniedly"])
def test_anything_else_is_left_alone(text: str) -> None:
    assert failures.advice(text) == ""

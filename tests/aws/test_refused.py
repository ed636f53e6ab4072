"""A permission that is missing ends a run with its name, and with the file of docs/policies that holds it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import aws_support
from .policy_lint import each

PLAY = """---
- hosts: control
  environment: "{{ retailflow_aws_environment }}"
  tasks:
    - ansible.builtin.include_role: {name: container-images, tasks_from: repositories}
      vars: {container_images_repositories: "{{ retailflow_repositories }}"}
    - ansible.builtin.include_role: {name: lambda-generator}
      vars: {lambda_generator_db_host: 10.86.1.11, lambda_generator_db_authority: any}
"""
TERRAFORM = """---
- hosts: control
  environment: "{{ retailflow_aws_environment }}"
  tasks:
    - ansible.builtin.include_tasks: tasks/terraform.yml
      vars: {retailflow_terraform_state: present, retailflow_terraform_public_key: ssh-ed25519 AAAA}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws_support.Site]:
    folder = tmp_path_factory.mktemp("aws")
    (folder / "site").mkdir()
    with aws_support.moto(folder) as url:
        cloned = aws_support.clone(folder / "site", url, 9)
        ec2 = cloned.client("ec2")
        outputs = {
            "subnet_id": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
            "ssm_endpoint": "https://vpce-1.ssm.example",
            "security_group_ids": {"lambda": ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]},
        }
        state = cloned.root / ".state/aws"
        state.mkdir(parents=True)
        (state / "outputs.json").write_text(json.dumps(outputs))
        (cloned.root / "playbooks/own.yml").write_text(PLAY)
        (cloned.root / "playbooks/own_terraform.yml").write_text(TERRAFORM)
        yield cloned


@pytest.fixture(scope="module")
def without(site: aws_support.Site) -> Callable[[str], None]:
    """Takes one action out of the operator's policies; the others are as they are shipped."""
    iam = site.client("iam")
    for policy in iam.list_attached_user_policies(UserName="operator")["AttachedPolicies"]:
        iam.detach_user_policy(UserName="operator", PolicyArn=policy["PolicyArn"])

    def take_out(action: str) -> None:
        for name, document in aws_support.policies().items():
            kept: dict[str, Any] = copy.deepcopy(document)
            for statement in kept["Statement"]:
                statement["Action"] = [one for one in each(statement["Action"]) if one != action]
            kept["Statement"] = [one for one in kept["Statement"] if one["Action"]]
            iam.put_user_policy(UserName="operator", PolicyName=name, PolicyDocument=json.dumps(kept))

    return take_out


@pytest.mark.parametrize(
    ("action", "file", "playbook"),
    [
        # In the order of the play: each run comes further than the one before.
        ("ecr:CreateRepository", "services", "own.yml"),  # a module of ours, with a result that is hidden
        ("iam:CreateRole", "hosts", "own.yml"),  # one of amazon.aws
        ("ssm:PutParameter", "services", "own.yml"),  # with a value that is hidden
        ("lambda:CreateFunction", "services", "own.yml"),  # a task whose output is hidden
        ("events:PutRule", "services", "own.yml"),
        ("ec2:CreateVpc", "hosts", "own_terraform.yml"),
    ],
)
def test_the_run_ends_with_the_permission_that_is_missing(
    site: aws_support.Site, without: Callable[[str], None], action: str, file: str, playbook: str
) -> None:
    without(action)
    run = site.play(f"playbooks/{playbook}")
    assert not run.ok, run.text
    end = " ".join(run.text.split("FAILED on ")[-1].split())
    assert f"AWS does not let these credentials do {action}" in end, run.text[-6000:]
    assert f"docs/policies/{file}.json.j2 holds that permission" in end, end

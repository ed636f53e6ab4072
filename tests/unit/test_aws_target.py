"""The aws target's own control-plane tasks against the emulated API: preflight, two runs, what they made, and teardown.

The tests of this file stand on one site and run in order: making it takes most of the time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import aws_support
import pytest

# What `make up TARGET=aws` does from the control node; the rest of site.yml needs hosts that answer ssh.
MAKE = ("playbooks/provision.yml", "playbooks/wire.yml", "--limit", "control")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws_support.Site]:
    folder = tmp_path_factory.mktemp("aws")
    (folder / "site").mkdir()
    with aws_support.moto(folder) as url, aws_support.snowflake(folder) as port:
        yield aws_support.clone(folder / "site", url, port)


@pytest.fixture(scope="module")
def made(site: aws_support.Site) -> aws_support.Run:
    """The first run."""
    run = site.play(*MAKE)
    assert run.ok, run.text
    return run


def test_nothing_is_made_without_a_yes(site: aws_support.Site) -> None:
    run = site.play("playbooks/preflight.yml", CONFIRM="")
    assert not run.ok
    assert "Say yes, or set CONFIRM=yes" in run.text
    assert "To be made: the hosts postgres, airbyte, dagster_dbt, metabase" in run.text
    assert re.search(r"\d+\.\d\d  together", run.text), "the monthly cost is said before the question"
    assert site.client("ec2").describe_instances()["Reservations"] == []


def test_the_preflight_names_everything_that_stands_in_the_way(site: aws_support.Site) -> None:
    ec2 = site.client("ec2")
    ec2.create_key_pair(KeyName="retailflow")
    vpcs = [ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"] for _ in range(4)]
    run = site.play("playbooks/preflight.yml", "-e", "retailflow_operator_cidr=192.168.1.0/24")
    ec2.delete_key_pair(KeyName="retailflow")
    for vpc in vpcs:
        ec2.delete_vpc(VpcId=vpc)
    assert not run.ok
    for words in (
        "192.168.1.0/24 is private",
        "the key pair retailflow exist",
        "1 more VPCs are needed, 5 of 5",
    ):
        assert words in " ".join(run.text.split()), run.text


def test_a_second_run_changes_nothing(site: aws_support.Site, made: aws_support.Run) -> None:
    assert made.changed > 0
    run = site.play(*MAKE)
    assert run.ok, run.text
    assert run.changed == 0, run.text


def test_terraform_has_nothing_to_do(site: aws_support.Site, made: aws_support.Run) -> None:
    key = (site.root / ".secrets/aws/id_ed25519.pub").read_text().strip()
    plan = site.terraform(
        "plan",
        "-detailed-exitcode",
        "-input=false",
        f"-var=operator_cidr={aws_support.OPERATOR}",
        f"-var=public_key={key}",
    )
    assert plan.ok, plan.text


def test_no_host_lacks_a_variable(site: aws_support.Site, made: aws_support.Run) -> None:
    """Everything that the aws inventory says of a host can be resolved, so a first run meets no undefined variable."""
    playbook = site.root / "resolve.yml"
    playbook.write_text(
        """---
- hosts: hosts
  connection: local
  tasks:
    - ansible.builtin.debug:
        msg: "{{ hostvars[inventory_hostname] | to_json | length }}"
"""
    )
    run = site.play("resolve.yml")
    assert run.ok, run.text
    assert run.text.count("ok=1") == 4, run.text


def test_the_function_is_limited_watched_and_inside_the_vpc(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    run = site.play("playbooks/print_lambda.yml")
    assert run.ok, run.text
    text = (site.root / ".state/aws/lambda.txt").read_text()
    outputs = json.loads((site.root / ".state/aws/outputs.json").read_text())
    for words in (
        "at most 120 s",
        outputs["subnet_id"],
        outputs["security_group_ids"]["lambda"],
        "rate(3 minutes)\n",
        "at a time   1\n",
        "2 more tries within 3600 s, then retailflow-generator-failed (0 there)",
        "retailflow-generator-errors, ",
        "/aws/lambda/retailflow-generator, 14 days",
        "retailflow_generator/handler.py",
        "(secret)",
    ):
        assert words in text, text
    assert (site.root / ".secrets/aws/db_generator").read_text().strip() not in text + run.text
    policy = site.client("iam").get_role_policy(RoleName="retailflow-generator", PolicyName="generator")
    statements = policy["PolicyDocument"]["Statement"]
    assert [one["Sid"] for one in statements if one["Resource"] == "*"] == ["JoinItsNetwork"]
    attached = site.client("iam").list_attached_role_policies(RoleName="retailflow-generator")
    assert attached["AttachedPolicies"] == []


def leftovers(site: aws_support.Site) -> list[str]:
    """Everything that the API shows with our tag, by the module that the teardown uses."""
    run = site.play("leftovers.yml")
    assert run.ok, run.text
    found: list[str] = json.loads((site.root / "leftovers.json").read_text())
    return found


@pytest.fixture(scope="module")
def lister(site: aws_support.Site) -> None:
    (site.root / "leftovers.yml").write_text(
        """---
- hosts: control
  environment: "{{ retailflow_aws_environment }}"
  tasks:
    - site_leftovers: {site: retailflow}
      register: left
    - ansible.builtin.copy: {content: "{{ left.found | to_json }}", dest: leftovers.json, mode: "0600"}
"""
    )
    library = site.root / "library"
    if not library.exists():
        library.symlink_to("playbooks/library")


def test_everything_carries_our_tag(site: aws_support.Site, made: aws_support.Run, lister: None) -> None:
    found = leftovers(site)
    kinds = {" ".join(one.split()[:2]).split("/")[0].split(":")[0] for one in found}
    for kind in (
        "ec2 instance",
        "ec2 volume",
        "ec2 vpc",
        "ec2 subnet",
        "ec2 route-table",
        "ec2 internet-gateway",
        "ec2 network-interface",
        "ec2 security-group",
        "ec2 security-group-rule",
        "ec2 key-pair",
        "iam role",
        "iam instance-profile",
        "lambda function",
        "events rule",
        "logs log-group",
        "ecs cluster",
    ):
        assert kind in kinds, found
    assert sum(one.startswith("ec2 instance ") for one in found) == 4
    assert sum(one.startswith("iam role ") for one in found) == 5, "one a host and the generator's"
    state: dict[str, Any] = json.loads((site.root / ".state/aws/terraform.tfstate").read_text())
    for resource in state["resources"]:
        for one in resource["instances"]:
            tags = one["attributes"].get("tags_all", {"Project": "retailflow"})
            if resource["mode"] == "managed":
                assert tags["Project"] == "retailflow", resource["type"]


def test_teardown_refuses_what_lacks_our_tag(site: aws_support.Site, made: aws_support.Run) -> None:
    client = site.client("lambda")
    arn = client.get_function(FunctionName="retailflow-generator")["Configuration"]["FunctionArn"]
    client.untag_resource(Resource=arn, TagKeys=["Project"])
    run = site.play("teardown.yml")
    client.tag_resource(Resource=arn, Tags={"Project": "retailflow"})
    assert not run.ok
    assert "the function retailflow-generator lack the tag Project=retailflow" in " ".join(run.text.split())
    assert client.get_function(FunctionName="retailflow-generator"), "it is still there"
    assert site.client("ec2").describe_vpcs(Filters=[{"Name": "tag:Project", "Values": ["retailflow"]}])[
        "Vpcs"
    ]


def test_teardown_takes_a_half_made_site_and_works_twice(
    site: aws_support.Site, made: aws_support.Run, lister: None
) -> None:
    # The cluster went with the last test; some more parts go by hand, a stranger stays.
    site.client("events").remove_targets(Rule="retailflow-generator-schedule", Ids=["generator"])
    site.client("events").delete_rule(Name="retailflow-generator-schedule")
    ec2 = site.client("ec2")
    host = ec2.describe_instances(Filters=[{"Name": "tag:Role", "Values": ["metabase"]}])["Reservations"][0]
    ec2.terminate_instances(InstanceIds=[host["Instances"][0]["InstanceId"]])
    stranger = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    (site.root / ".secrets/aws/id_ed25519.pub").unlink()

    run = site.play("teardown.yml")
    assert run.ok, run.text
    assert leftovers(site) == []
    assert not (site.root / ".state/aws").exists() and not (site.root / ".env").exists()
    assert stranger in [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]], "what is not ours stays"

    again = site.play("teardown.yml")
    assert again.ok, again.text
    assert again.changed == 0, again.text


def test_teardown_says_what_it_cannot_know(
    site: aws_support.Site, made: aws_support.Run, lister: None
) -> None:
    """Something with our tag that no state knows, as after a lost state: listed, not passed over."""
    ec2 = site.client("ec2")
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Project", "Value": "retailflow"}]}]
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=8, TagSpecifications=tags)["VolumeId"]
    run = site.play("teardown.yml")
    ec2.delete_volume(VolumeId=volume)
    assert not run.ok
    assert f"ec2 volume {volume}" in run.text
    assert site.play("teardown.yml").ok

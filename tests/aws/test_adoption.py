"""What AWS holds and Terraform's state does not know is found again by the next run: nothing is refused, nothing is made twice.

The tests stand on one small network against the emulated API and run in order.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible.module_utils.retailflow_ec2_kinds import KINDS, described

from . import aws_support
from .guard_support import Cloud, call, clouds

PROJECT = {"Key": "Project", "Value": "retailflow"}
FOREIGN = {"Key": "Project", "Value": "another"}
# Terraform takes the group that comes with a VPC wherever it is, and never makes one.
COMES_WITH_THE_VPC = "aws_default_security_group.closed"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with clouds(tmp_path_factory.mktemp("adoption")) as made:
        yield made


@pytest.fixture(scope="module")
def iam(cloud: Cloud) -> Any:
    keys = {f"aws_{key}": value for key, value in aws_support.ADMINISTRATOR.items()}
    return boto3.client("iam", region_name=aws_support.REGION, **keys)


def terraform(cloud: Cloud, *arguments: str) -> None:
    command = ["terraform", f"-chdir={cloud.root}/terraform", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def held(cloud: Cloud, iam: Any) -> dict[str, set[str]]:
    """What AWS holds of the site: ids by the resource that makes them."""
    found = {
        name: {one[kind.identifier] for one in described(cloud.ec2, kind, {"tag:Project": "retailflow"})}
        for name, kind in KINDS.items()
    }
    # Of the volumes those that are made on their own, of the groups not the one that comes with the VPC.
    found["aws_ebs_volume"] = {one["VolumeId"] for one in cloud.volumes()}
    groups = described(cloud.ec2, KINDS["aws_security_group"], {"tag:Project": "retailflow"})
    found["aws_security_group"] = {one["GroupId"] for one in groups if one["GroupName"] != "default"}
    rules = [
        one
        for one in cloud.ec2.describe_security_group_rules()["SecurityGroupRules"]
        if one["GroupId"] in found["aws_security_group"]
    ]
    for egress, name in ((False, "ingress"), (True, "egress")):
        found[f"aws_vpc_security_group_{name}_rule"] = {
            one["SecurityGroupRuleId"] for one in rules if one["IsEgress"] is egress
        }
    roles = [one["RoleName"] for one in iam.list_roles()["Roles"]]
    found["aws_iam_role"] = {one for one in roles if one.startswith("retailflow-")}
    return found


def whole(cloud: Cloud, iam: Any, capsys: Any) -> None:
    """Nothing is left to do, and each thing that AWS holds is in the state once."""
    again = cloud.run(capsys)
    assert again["summary"] == ["nothing to do"], again
    state = cloud.state()
    for kind, ids in held(cloud, iam).items():
        assert ids == {found for one, found in state.items() if one.startswith(f"{kind}.")}, kind
    assert not (cloud.root / "terraform/imports.tf").exists()


# --- killed ---------------------------------------------------------------------------------------------------------------


Killed = Callable[[Callable[[], bool], Callable[[], dict[str, Any]]], dict[str, Any]]


def there(cloud: Cloud, kind: str) -> Callable[[], bool]:
    return lambda: any(described(cloud.ec2, KINDS[kind], {"tag:Project": "retailflow"}))


@pytest.fixture
def killed(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Killed:
    """Runs the guard, and kills Terraform when something holds while it applies."""
    note = tmp_path / "apply.pid"
    shim = tmp_path / "terraform"
    shim.write_text(
        f'#!/bin/sh\nif [ "$2" = apply ]; then echo $$ > {note}.part; mv {note}.part {note}; fi\n'
        f'exec {shutil.which("terraform")} "$@"\n'
    )
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def run(moment: Callable[[], bool], guard: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        note.unlink(missing_ok=True)
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.01):
                if note.exists() and moment():
                    os.kill(int(note.read_text()), signal.SIGKILL)
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            return guard()
        finally:
            ended.set()
            watcher.join()

    return run


def test_a_run_that_was_killed_is_gone_on_with(cloud: Cloud, iam: Any, killed: Killed, capsys: Any) -> None:
    """A site is made although Terraform is killed three times, each time when AWS has made what the state does not know."""
    unknown = []
    for kind in ("aws_vpc", "aws_security_group", "aws_instance"):
        said = killed(there(cloud, kind), lambda: cloud.run(capsys))
        assert said["failed"] and "run it again" in said["msg"], said
        unknown.append(held(cloud, iam)[kind] - set(cloud.state().values()))
    assert unknown[0] and unknown[2], "the state knows everything, so nothing was shown"
    said = cloud.run(capsys)
    assert not said.get("failed"), said["msg"]
    assert set(cloud.hosts()) == {"db", "web_app"}
    whole(cloud, iam, capsys)


SLOW = """
terraform {
  backend "s3" {}
}
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "touch started; for _ in $(seq 300); do test -e go && exit; sleep 0.1; done; exit 1"
  }
}
"""


def test_the_lock_of_a_run_that_was_killed_is_removed_and_no_other(
    cloud: Cloud, killed: Killed, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket it stays: https://developer.hashicorp.com/terraform/language/backend/s3#state-locking"""
    monkeypatch.setenv("TF_DATA_DIR", str(tmp_path / "data"))
    keys = {f"aws_{key}": value for key, value in aws_support.ADMINISTRATOR.items()}
    s3 = boto3.client("s3", region_name=aws_support.REGION, **keys)
    place = {"LocationConstraint": aws_support.REGION}
    s3.create_bucket(Bucket=aws_support.BUCKET, CreateBucketConfiguration=place)
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow/main.tf").write_text(SLOW)
    backend = {"bucket": aws_support.BUCKET, "key": "retailflow.tfstate", "region": aws_support.REGION}
    settings = {"use_lockfile": "true", "use_path_style": "true"}
    arguments = {"project_path": str(tmp_path / "slow"), "backend_config": backend | settings}

    def run(folder: str) -> dict[str, Any]:
        return call(capsys, {**arguments, "work_dir": str(tmp_path / folder)})

    said = killed((tmp_path / "slow/started").exists, lambda: run("state"))
    assert said["failed"], said
    (tmp_path / "slow/go").touch()
    (lock,) = s3.list_objects_v2(Bucket=aws_support.BUCKET)["Contents"]
    assert lock["Key"] == "retailflow.tfstate.tflock"
    elsewhere = run("of-another-clone")
    assert elsewhere["failed"] and "Error acquiring the state lock" in elsewhere["msg"], elsewhere
    said = run("state")
    assert said["changed"] and not said.get("failed"), said
    (state,) = s3.list_objects_v2(Bucket=aws_support.BUCKET)["Contents"]
    assert state["Key"] == "retailflow.tfstate"


# --- forgotten --------------------------------------------------------------------------------------------------------------

# Of what stands in something else only one is in a group, so each kind is alone in what it does not know.
FORGOTTEN = {
    "the network": (
        "aws_vpc",
        "aws_network_interface",
        "aws_iam_role",
        "aws_key_pair",
        "aws_ebs_volume",
        "aws_route",
        "aws_route_table_association",
        "aws_vpc_endpoint",
        "aws_vpc_security_group_ingress_rule",
        "aws_vpc_security_group_egress_rule",
    ),
    "what stands in it": (
        "aws_subnet",
        "aws_internet_gateway",
        "aws_route_table",
        "aws_security_group",
        "aws_instance",
        "aws_iam_role_policy",
        "aws_iam_instance_profile",
        "aws_eip",
        "aws_volume_attachment",
    ),
}


def test_every_kind_is_forgotten_once(cloud: Cloud) -> None:
    kinds = {one.split(".")[0] for one in cloud.state()} - {COMES_WITH_THE_VPC.split(".")[0]}
    assert kinds == {one for group in FORGOTTEN.values() for one in group}


@pytest.mark.parametrize("group", [*FORGOTTEN, "everything"])
def test_what_the_state_has_forgotten_is_found_again(cloud: Cloud, iam: Any, capsys: Any, group: str) -> None:
    before, held_before = cloud.state(), held(cloud, iam)
    forgotten = [
        one for one in before if group == "everything" or one.split(".")[0] in FORGOTTEN.get(group, ())
    ]
    terraform(cloud, "state", "rm", *forgotten)
    said = cloud.run(capsys)
    assert not said.get("failed"), said["msg"]
    assert {one.rpartition(" (")[0] for one in said["imported"]} == set(forgotten) - {COMES_WITH_THE_VPC}
    assert said["unplanned"] == []
    assert cloud.state() == before and held(cloud, iam) == held_before
    if group == "everything":
        whole(cloud, iam, capsys)


def test_a_rule_that_somebody_has_put_back_by_hand_is_the_sites(cloud: Cloud, iam: Any, capsys: Any) -> None:
    """The state knows the rule that was removed; AWS has an equal one without a tag, and would refuse a second."""
    address = 'aws_vpc_security_group_ingress_rule.flow["web_app-db-5432"]'
    (rule,) = cloud.ec2.describe_security_group_rules(SecurityGroupRuleIds=[cloud.state()[address]])[
        "SecurityGroupRules"
    ]
    cloud.ec2.revoke_security_group_ingress(
        GroupId=rule["GroupId"], SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]]
    )
    peer = {"GroupId": rule["ReferencedGroupInfo"]["GroupId"]}
    made = cloud.ec2.authorize_security_group_ingress(
        GroupId=rule["GroupId"],
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [peer]}],
    )["SecurityGroupRules"]
    planned = cloud.run(capsys, check=True)
    assert planned["imported"] == [f"{address} ({made[0]['SecurityGroupRuleId']})"], planned
    assert cloud.state()[address] == rule["SecurityGroupRuleId"], "check mode changes no state"
    said = cloud.run(capsys)
    assert not said.get("failed"), said["msg"]
    assert cloud.state()[address] == made[0]["SecurityGroupRuleId"]
    whole(cloud, iam, capsys)


def test_what_a_run_has_begun_to_make_is_finished(cloud: Cloud, iam: Any, capsys: Any) -> None:
    """As Terraform marks what it was interrupted at: it would make it again, with a loss."""
    before = cloud.state()
    for one in ("aws_vpc.main", 'aws_instance.host["db"]', 'aws_ebs_volume.data["db"]'):
        terraform(cloud, "taint", one)
    said = cloud.run(capsys)
    assert not said.get("failed"), said["msg"]
    assert cloud.state() == before


# --- what only a person can decide ------------------------------------------------------------------------------------------


def test_what_is_not_the_sites_is_not_taken(cloud: Cloud, iam: Any, capsys: Any) -> None:
    """Things that have the names and places of the site's, and another's tag."""
    before = cloud.state()
    addresses = [
        'aws_vpc_security_group_ingress_rule.flow["web_app-db-5432"]',
        'aws_security_group.main["ssm"]',
        "aws_key_pair.operator",
        'aws_network_interface.host["db"]',
    ]
    (pair,) = cloud.ec2.describe_key_pairs()["KeyPairs"]
    ids = [before[addresses[0]], before[addresses[1]], pair["KeyPairId"], before[addresses[3]]]
    role = 'aws_iam_role.host["db"]'
    terraform(cloud, "state", "rm", *addresses, role)
    cloud.ec2.create_tags(Resources=ids, Tags=[FOREIGN])
    iam.tag_role(RoleName=before[role], Tags=[FOREIGN])
    held_before = held(cloud, iam)
    said = cloud.run(capsys)
    assert said["failed"] and said["msg"].startswith("Nothing was changed."), said
    for one in (*addresses, role):
        assert f"{one}: the " in said["msg"] and before[one] in said["msg"], one
    assert "without the tag Project=retailflow" in said["msg"]
    assert held(cloud, iam) == held_before

    cloud.ec2.create_tags(Resources=ids, Tags=[PROJECT])
    iam.tag_role(RoleName=before[role], Tags=[PROJECT])
    assert not cloud.run(capsys).get("failed")
    assert cloud.state() == before


def test_of_two_that_match_none_is_taken(cloud: Cloud, iam: Any, capsys: Any) -> None:
    before = cloud.state()
    tags = [PROJECT, {"Key": "Name", "Value": "retailflow"}]
    specification = [{"ResourceType": "vpc", "Tags": tags}]
    other = cloud.ec2.create_vpc(CidrBlock="10.77.0.0/16", TagSpecifications=specification)["Vpc"]["VpcId"]
    terraform(cloud, "state", "rm", "aws_vpc.main")
    said = cloud.run(capsys)
    assert said["failed"] and said["msg"].startswith("Nothing was changed."), said
    assert other in said["msg"] and before["aws_vpc.main"] in said["msg"]
    assert "Remove the others" in said["msg"]

    # Of another name it matches nothing that is planned: it is named and left alone.
    cloud.ec2.create_tags(Resources=[other], Tags=[{"Key": "Name", "Value": "retailflow-old"}])
    said = cloud.run(capsys)
    assert not said.get("failed"), said["msg"]
    assert said["unplanned"] == [f"vpc {other} (retailflow-old)"]
    assert cloud.state() == before
    cloud.ec2.delete_vpc(VpcId=other)
    whole(cloud, iam, capsys)

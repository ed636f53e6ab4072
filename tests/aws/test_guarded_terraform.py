"""Terraform behind its guard: what a plan would lose is refused by name, and only the plan that was read is applied.

The tests with Terraform stand on one small network against the emulated API and run in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

import guarded_terraform as guard

from . import aws_support
from .guard_support import OTHER_KEY, Cloud, clouds

# --- plans as Terraform writes them ---------------------------------------------------------------------------------------


def change(address: str, *actions: str, **more: Any) -> dict[str, Any]:
    resource = address.partition("[")[0]
    inner = {"actions": list(actions), "before": {"id": "x-1"}, "after": {}, **more}
    return {"address": address, "type": resource.split(".")[-2], "mode": "managed", "change": inner}


HOST = 'aws_instance.host["db"]'
VOLUME = 'aws_ebs_volume.data["db"]'


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (
            change(HOST, "delete", "create", replace_paths=[["ami"]]),
            "(another ami): the host x-1 with its root disk",
        ),
        (change(HOST, "create", "delete"), "replace"),
        (change(HOST, "delete"), "remove"),
        (change(VOLUME, "delete"), "the volume x-1 with the data on it"),
        (change("aws_key_pair.operator", "delete", "create"), "log in"),
        (change("aws_subnet.main", "delete", "create"), "which others depend on"),
        (change("module.more.aws_s3_bucket.backup", "delete"), "the bucket x-1"),
        (change("aws_dynamodb_table.later", "delete"), "x-1"),
        (
            change(
                'aws_network_interface.host["db"]',
                "update",
                before={"private_ips": ["a"]},
                after={"private_ips": ["b"]},
            ),
            "cannot take another address",
        ),
    ],
)
def test_what_would_be_lost_is_refused(one: dict[str, Any], words: str) -> None:
    ((address, text),) = guard.Plan([one]).refused([])
    assert address == one["address"] and address in text and words in text
    assert guard.Plan([one]).refused(['aws_instance.host["other"]']) != []
    assert guard.Plan([one]).refused([address]) == []


@pytest.mark.parametrize(
    "one",
    [
        change(HOST, "create"),
        change(HOST, "update"),
        change(HOST, "no-op"),
        change(VOLUME, "update"),
        change('aws_vpc_security_group_ingress_rule.flow["a"]', "delete", "create"),
        change('aws_iam_role_policy.host["db"]', "delete"),
        change(
            'aws_network_interface.host["db"]',
            "update",
            before={"private_ips": ["a"]},
            after={"private_ips": ["a"]},
        ),
        change("data.aws_ami.debian", "read") | {"mode": "data"},
    ],
)
def test_what_loses_nothing_passes(one: dict[str, Any]) -> None:
    assert guard.Plan([one]).refused([]) == []


def test_a_role_stands_for_its_host_and_never_for_its_data() -> None:
    plan = guard.Plan(
        [
            change(HOST, "delete", "create"),
            change('aws_network_interface.host["db"]', "delete", "create"),
            change('aws_volume_attachment.data["db"]', "delete", "create"),
            change(VOLUME, "delete", "create"),
        ]
    )
    assert [address for address, _ in plan.refused(["db"])] == [VOLUME]
    assert plan.refused(["db", VOLUME]) == plan.refused(["db", "aws_ebs_volume.data[db]"]) == []
    assert guard.how_to_go_on(plan.refused([])) == "REPLACE=db,aws_ebs_volume.data[db]"
    assert plan.summary[0] == "4 to replace"


@pytest.mark.parametrize("named", ["", "db; rm", "a.b[", 'a.b["c"]]', "DB", "-all", "a.b[c] d.e[f]"])
def test_a_name_of_no_form_is_refused(named: str) -> None:
    with pytest.raises(ValueError, match="neither a role nor"):
        guard.addresses(named)


# --- with Terraform -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with clouds(tmp_path_factory.mktemp("guard")) as made:
        yield made


def test_check_mode_says_what_would_be_made(cloud: Cloud, capsys: Any) -> None:
    said = cloud.run(capsys, check=True)
    assert said["changed"] and 'create aws_instance.host["db"]' in said["summary"], said
    assert cloud.hosts() == {} and not (cloud.root / "state/terraform.plan").exists()


def test_it_makes_the_network_once(cloud: Cloud, capsys: Any) -> None:
    said = cloud.run(capsys)
    assert not said.get("failed"), said["msg"]
    assert said["changed"] and set(said["outputs"]) >= {"subnet_id", "security_group_ids"}, said
    assert set(cloud.hosts()) == {"db", "web_app"}
    again = cloud.run(capsys)
    assert again["changed"] is False and again["summary"] == ["nothing to do"], again
    assert again["outputs"] == said["outputs"]


def rules(cloud: Cloud) -> dict[str, dict[str, Any]]:
    """The rules by which hosts are reached, by their names."""
    found = cloud.ec2.describe_security_group_rules()["SecurityGroupRules"]
    named = {tag["Value"]: one for one in found for tag in one.get("Tags", []) if tag["Key"] == "Name"}
    return {name: one for name, one in named.items() if not one["IsEgress"]}


def test_rules_that_were_removed_by_hand_are_made_again(cloud: Cloud, capsys: Any) -> None:
    before = rules(cloud)
    assert len(before) > 2
    for one in before.values():
        cloud.ec2.revoke_security_group_ingress(
            GroupId=one["GroupId"], SecurityGroupRuleIds=[one["SecurityGroupRuleId"]]
        )
    assert rules(cloud) == {}
    assert cloud.run(capsys)["changed"]
    assert set(rules(cloud)) == set(before)
    assert not cloud.run(capsys)["changed"]


def test_a_host_cannot_be_ended_from_outside(cloud: Cloud) -> None:
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        cloud.ec2.terminate_instances(InstanceIds=[cloud.hosts()["db"]])
    assert set(cloud.hosts()) == {"db", "web_app"}


def test_a_newer_image_replaces_no_host(cloud: Cloud, capsys: Any) -> None:
    """As if Debian had published one since."""
    main = cloud.root / "terraform/hosts.tf"
    text = main.read_text()
    main.write_text(text.replace("data.aws_ami.debian.id", '"ami-0123456789abcdef0"'))
    said = cloud.run(capsys, check=True)
    main.write_text(text)
    assert said["changed"] is False, said


def test_a_volume_that_the_list_no_longer_has_is_not_removed(cloud: Cloud, capsys: Any) -> None:
    said = cloud.run(capsys, host={"data_gb": None})
    assert said["failed"], said
    assert "make up REPLACE=aws_ebs_volume.data[db],db" in said["msg"]
    (volume,) = cloud.volumes()
    assert f"the volume {volume['VolumeId']} with the data on it" in said["msg"]


def test_a_plan_that_loses_something_stops_and_says_what_to_type(cloud: Cloud, capsys: Any) -> None:
    before = cloud.hosts()
    said = cloud.run(capsys, public_key=OTHER_KEY)
    assert said["failed"] and "the key pair retailflow by which people" in said["msg"], said
    assert (
        said["msg"].startswith("Nothing was changed.")
        and "make up REPLACE=aws_key_pair.operator" in said["msg"]
    )
    moved = cloud.run(capsys, host={"private_ip": "10.9.1.21"})
    assert moved["failed"], moved
    assert "make up REPLACE=db" in moved["msg"]
    assert cloud.hosts() == before
    assert cloud.run(capsys)["changed"] is False, "nothing was applied"


def test_another_key_pair_keeps_every_host_and_later_ones_get_it(cloud: Cloud, capsys: Any) -> None:
    before = cloud.hosts()
    said = cloud.run(capsys, public_key=OTHER_KEY, replace="aws_key_pair.operator")
    assert not said.get("failed") and said["summary"][0] == "1 to replace", said
    assert cloud.hosts() == before, "no host was made again"
    (pair,) = cloud.ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert pair["PublicKey"].split()[1] == OTHER_KEY.split()[1]
    (host,) = cloud.ec2.describe_instances(InstanceIds=[before["db"]])["Reservations"]
    assert {one["KeyName"] for one in host["Instances"]} == {pair["KeyName"]}
    back = cloud.run(capsys, replace="aws_key_pair.operator")
    assert not back.get("failed"), back


def test_another_size_of_a_host_keeps_it(cloud: Cloud, capsys: Any) -> None:
    said = cloud.run(capsys, check=True, host={"instance_type": "t3.medium", "volume_gb": 20, "data_gb": 9})
    assert not said.get("failed") and said["summary"][0] == "2 to change", said


def test_a_name_that_is_not_there_is_refused(cloud: Cloud, capsys: Any) -> None:
    said = cloud.run(capsys, replace="postgress")
    assert said["failed"] and said["msg"].startswith("Nothing was changed."), said
    assert "postgress" in said["msg"]


def test_a_failure_says_whether_something_may_have_changed(cloud: Cloud, capsys: Any) -> None:
    said = cloud.run(capsys, operator_cidr="0.0.0.0/0")
    assert said["failed"] and said["msg"].startswith("Nothing was changed. terraform plan failed"), said
    assert "ssh is never opened to the world" in " ".join(said["msg"].split())


def test_the_host_that_is_named_is_made_again_and_no_other(cloud: Cloud, capsys: Any) -> None:
    before, (volume,) = cloud.hosts(), cloud.volumes()
    said = cloud.run(capsys, replace="db")
    assert said["changed"], said
    after, (found,) = cloud.hosts(), cloud.volumes()
    assert after["web_app"] == before["web_app"] and after["db"] != before["db"]
    assert found["VolumeId"] == volume["VolumeId"], "the host finds its data again"
    assert [one["InstanceId"] for one in found["Attachments"]] == [after["db"]]
    assert cloud.run(capsys)["changed"] is False


def test_volumes_that_are_kept_outlive_the_site_and_the_next_one_finds_them(
    cloud: Cloud, capsys: Any
) -> None:
    kept = {"state": "absent", "keep": ["aws_ebs_volume.data"]}
    (before,) = cloud.volumes()
    planned = cloud.run(capsys, check=True, **kept)
    assert f"keep {VOLUME}" in planned["summary"] and f"remove {VOLUME}" not in planned["summary"], planned
    assert VOLUME in cloud.state(), "check mode takes nothing out of the state"

    said = cloud.run(capsys, **kept)
    assert said["changed"] and not said.get("failed"), said
    assert cloud.hosts() == {} and cloud.state() == {}
    (after,) = cloud.volumes()
    assert (after["VolumeId"], after["State"]) == (before["VolumeId"], "available")
    again = cloud.run(capsys, **kept)
    assert again["changed"] is False and not again.get("failed"), again

    elsewhere = cloud.run(capsys, zone=f"{aws_support.REGION}b")
    assert (
        elsewhere["failed"] and f"the volume {after['VolumeId']} with the data on it" in elsewhere["msg"]
    ), "from another zone it could only be lost"
    planned = cloud.run(capsys, check=True)
    assert f"find again {VOLUME} ({after['VolumeId']})" in planned["summary"], planned
    said = cloud.run(capsys)
    assert not said.get("failed"), said["msg"]
    (found,) = cloud.volumes()
    assert found["VolumeId"] == before["VolumeId"]
    assert [one["InstanceId"] for one in found["Attachments"]] == [cloud.hosts()["db"]]
    assert cloud.run(capsys)["summary"] == ["nothing to do"], "the state has it now"


def test_everything_is_removed_when_that_is_asked(cloud: Cloud, capsys: Any) -> None:
    said = cloud.run(capsys, state="absent")
    assert said["changed"] and not said.get("failed"), said
    assert cloud.hosts() == {} and cloud.volumes() == []

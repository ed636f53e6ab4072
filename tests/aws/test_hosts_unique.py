"""Two instances that share a name or a role stop every playbook that would have to choose one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from . import aws_support

PLAY = """---
- hosts: control
  tasks:
    - ansible.builtin.import_tasks: playbooks/tasks/hosts_unique.yml
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws_support.Site]:
    folder = tmp_path_factory.mktemp("unique")
    (folder / "site").mkdir()
    with aws_support.moto(folder) as url:
        cloned = aws_support.clone(folder / "site", url, 0)
        (cloned.root / "unique.yml").write_text(PLAY)
        yield cloned


@pytest.fixture
def instances(site: aws_support.Site) -> Iterator[Any]:
    """Give a function that makes an instance with tags and returns its id; all are terminated afterwards."""
    ec2 = site.client("ec2")
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    made: list[str] = []

    def make(stopped: bool = False, **tags: str) -> str:
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        answer = ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": listed}],
        )
        made.append(answer["Instances"][0]["InstanceId"])
        if stopped:
            ec2.stop_instances(InstanceIds=made[-1:])
        return made[-1]

    yield make
    ec2.terminate_instances(InstanceIds=made)


MINE = {"Project": "retailflow", "Name": "retailflow-postgres", "Role": "postgres"}


def test_one_instance_per_name_passes_beside_those_of_others(site: aws_support.Site, instances: Any) -> None:
    instances(**MINE)
    instances(**MINE | {"Name": "retailflow-airbyte", "Role": "airbyte"})
    instances(**MINE | {"Project": "other"})
    site.client("ec2").terminate_instances(InstanceIds=[instances(**MINE)])
    run = site.play("unique.yml")
    assert run.ok, run.text


@pytest.mark.parametrize(
    ("second", "stopped"),
    [
        (MINE, True),
        (MINE | {"Name": "retailflow-spare"}, False),
        ({"Project": "retailflow", "Name": "retailflow-postgres"}, True),
    ],
    ids=["the same name and role", "the same role", "the same name"],
)
def test_two_of_one_name_or_role_are_refused_by_their_ids(
    site: aws_support.Site, instances: Any, second: dict[str, str], stopped: bool
) -> None:
    ids = {instances(**MINE): "running", instances(stopped, **second): "stopped" if stopped else "running"}
    run = site.play("unique.yml")
    assert not run.ok
    words = " ".join(run.text.split())
    assert ", ".join(f"{one} {ids[one]}" for one in sorted(ids)) in words, words
    assert "Nothing was changed." in words and "remove their tag Project" in words

"""The role of the generator goes when AWS has given back the function's network interfaces, and not before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import aws_support

PLAY = """---
- hosts: control
  environment: "{{ retailflow_aws_environment }}"
  tasks:
    - ansible.builtin.include_role: {name: lambda-generator, tasks_from: uninstall}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws_support.Site]:
    folder = tmp_path_factory.mktemp("aws")
    (folder / "site").mkdir()
    with aws_support.moto(folder) as url:
        cloned = aws_support.clone(folder / "site", url, 9)
        (cloned.root / "remove.yml").write_text(PLAY)
        yield cloned


def test_the_role_stays_while_lambda_holds_an_interface(site: aws_support.Site) -> None:
    ec2, iam = site.client("ec2"), site.client("iam")
    mark = [{"Key": "Project", "Value": "retailflow"}]
    iam.create_role(RoleName="retailflow-generator", AssumeRolePolicyDocument="{}", Tags=mark)
    ssm, password = site.client("ssm"), "/retailflow/generator/DB_PASSWORD"
    ssm.put_parameter(Name=password, Value="word", Type="SecureString", Tags=mark)
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    held = ec2.create_network_interface(
        SubnetId=subnet, Description="AWS Lambda VPC ENI-retailflow-generator-0b1c"
    )["NetworkInterface"]["NetworkInterfaceId"]
    ec2.create_network_interface(SubnetId=subnet, Description="AWS Lambda VPC ENI-other-0b1c")

    run = site.play("remove.yml", "-e", '{"lambda_generator_release_timeout": 1}')
    assert not run.ok
    words = " ".join(run.text.split())
    assert f"Lambda still holds {held}. Its role and its network were not removed." in words, run.text
    assert iam.get_role(RoleName="retailflow-generator")
    assert ssm.describe_parameters()["Parameters"] == [], "nothing reads it any more"

    ec2.delete_network_interface(NetworkInterfaceId=held)
    run = site.play("remove.yml")
    assert run.ok, run.text
    assert "minutes at most 45" in run.text
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName="retailflow-generator")

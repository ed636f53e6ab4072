"""Secrets of one program as SSM parameters: made, changed, removed, and never those beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.retailflow_aws import AwsWork
from ansible.module_utils.retailflow_parameters import Parameters

import moto_support

TAGS = {"Project": "shop"}


@pytest.fixture
def ssm() -> Iterator[Any]:
    with moto_support.account("ssm") as clients:
        yield clients["ssm"]


def ensure(ssm: Any, check: bool = False, **secrets: str) -> tuple[list[str], dict[str, int]]:
    work = AwsWork(TAGS, check)
    versions = Parameters(work, ssm, "/shop/report/").ensure(secrets)
    return work.actions, versions


def names(ssm: Any) -> list[str]:
    return sorted(one["Name"] for one in ssm.describe_parameters()["Parameters"])


def test_a_secret_is_kept_once_encrypted_and_tagged(ssm: Any) -> None:
    assert ensure(ssm, check=True, DB_PASSWORD="one") == (["keep the secret DB_PASSWORD"], {"DB_PASSWORD": 1})
    assert names(ssm) == [], "check mode keeps nothing"
    ensure(ssm, DB_PASSWORD="one")
    assert ensure(ssm, DB_PASSWORD="one") == ([], {"DB_PASSWORD": 1})
    (found,) = ssm.describe_parameters()["Parameters"]
    assert (found["Type"], found["KeyId"]) == ("SecureString", "alias/aws/ssm")
    assert Parameters(AwsWork(TAGS, False), ssm, "/shop/report/").untagged() == []
    other = Parameters(AwsWork({"Project": "other"}, False), ssm, "/shop/report/")
    assert other.untagged() == ["/shop/report/DB_PASSWORD"]


def test_another_value_takes_its_place_and_keeps_its_tags(ssm: Any) -> None:
    ensure(ssm, DB_PASSWORD="one")
    assert ensure(ssm, DB_PASSWORD="two") == (["change the secret DB_PASSWORD"], {"DB_PASSWORD": 2})
    found = ssm.get_parameter(Name="/shop/report/DB_PASSWORD", WithDecryption=True)["Parameter"]
    assert (found["Value"], found["Version"]) == ("two", 2)
    assert Parameters(AwsWork(TAGS, False), ssm, "/shop/report/").untagged() == []


def test_what_is_asked_for_no_more_goes_and_nothing_beside_it(ssm: Any) -> None:
    for name in ("/shop/report", "/shop/report-2/DB_PASSWORD", "/shop/db_admin"):
        ssm.put_parameter(Name=name, Value="theirs", Type="SecureString")
    ensure(ssm, DB_PASSWORD="one", TOKEN="two")
    assert ensure(ssm, DB_PASSWORD="one") == (["forget the secret TOKEN"], {"DB_PASSWORD": 1})
    assert ensure(ssm) == (["forget the secret DB_PASSWORD"], {})
    assert ensure(ssm) == ([], {})
    assert names(ssm) == ["/shop/db_admin", "/shop/report", "/shop/report-2/DB_PASSWORD"]

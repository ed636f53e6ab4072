"""Buckets of ours: made once with old versions, never somebody else's, and removed with every version or not at all."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from ansible.module_utils.retailflow_aws import ForeignError
from ansible.module_utils.retailflow_bucket import Bucket

TAGS = {"BackupOf": "shop"}
NAME = "shop-backup-123456789012-eu-central-1"


def ensured(s3: Any, check_mode: bool = False, days: int | None = None) -> list[str]:
    bucket = Bucket(s3, NAME, TAGS, check_mode)
    bucket.ensure(days)
    return bucket.actions


def removed(s3: Any, check_mode: bool = False) -> list[str]:
    bucket = Bucket(s3, NAME, TAGS, check_mode)
    bucket.remove()
    return bucket.actions


def names(s3: Any) -> list[str]:
    return [one["Name"] for one in s3.list_buckets()["Buckets"]]


@pytest.mark.parametrize(("days", "steps"), [(None, 3), (30, 4)])
def test_it_is_made_once_and_keeps_old_versions(s3: Any, days: int | None, steps: int) -> None:
    planned = ensured(s3, check_mode=True, days=days)
    assert names(s3) == [], "check mode makes nothing"
    assert ensured(s3, days=days) == planned and len(planned) == steps
    assert s3.get_bucket_versioning(Bucket=NAME)["Status"] == "Enabled"
    assert ensured(s3, days=days) == []


def test_replaced_objects_are_kept_for_so_many_days_and_rules_of_others_stay(s3: Any) -> None:
    ensured(s3)
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "x"}, "Expiration": {"Days": 3}}
    s3.put_bucket_lifecycle_configuration(Bucket=NAME, LifecycleConfiguration={"Rules": [theirs]})
    for days in (30, 40):
        assert len(ensured(s3, days=days)) == 1
        rules = {one["ID"]: one for one in s3.get_bucket_lifecycle_configuration(Bucket=NAME)["Rules"]}
        assert set(rules) == {"theirs", "replaced"}
        assert rules["replaced"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": days}


def test_one_of_somebody_else_is_neither_used_nor_removed(s3: Any) -> None:
    s3.create_bucket(Bucket=NAME, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket=NAME, Key="theirs", Body=b"x")
    for call in (ensured, removed):
        with pytest.raises(ForeignError, match="lacks the tag BackupOf=shop"):
            call(s3)
    assert "Status" not in s3.get_bucket_versioning(Bucket=NAME)
    assert s3.get_object(Bucket=NAME, Key="theirs")["Body"].read() == b"x"


def test_in_the_first_region_no_place_is_named(s3: Any) -> None:
    ensured(boto3.client("s3", region_name="us-east-1"))
    assert s3.get_bucket_location(Bucket=NAME)["LocationConstraint"] is None


def test_it_goes_with_every_version_of_every_object(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.module_utils.retailflow_bucket.DELETED_AT_ONCE", 2)
    ensured(s3)
    for number in range(3):
        for body in (b"first", b"second"):
            s3.put_object(Bucket=NAME, Key=f"base/{number}", Body=body)
    s3.delete_object(Bucket=NAME, Key="base/0")
    planned = removed(s3, check_mode=True)
    assert names(s3) == [NAME], "check mode removes nothing"
    assert removed(s3) == planned == [f"remove the bucket {NAME} with all that is in it"]
    assert names(s3) == []
    assert removed(s3) == [], "it is gone"

"""What the emulated S3 holds outlives its server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from server_support import emulated_aws


@contextmanager
def s3(folder: Path) -> Iterator[Any]:
    """A client of a server that keeps its objects in the folder."""
    with emulated_aws({"EMULATED_AWS_OBJECTS": str(folder / "s3")}, folder / "log") as url:
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        yield boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)


def test_buckets_objects_and_their_versions_are_there_after_a_restart(tmp_path: Path) -> None:
    with s3(tmp_path) as client:
        for bucket in ("store", "removed"):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket="store", VersioningConfiguration={"Status": "Enabled"})
        client.put_bucket_tagging(Bucket="store", Tagging={"TagSet": [{"Key": "Owner", "Value": "shop"}]})
        client.put_object(Bucket="store", Key="a/b", Body=b"first", Metadata={"sha256": "1"})
        client.put_object(Bucket="store", Key="a/b", Body=b"second", Metadata={"sha256": "2"})
        client.put_object(Bucket="store", Key="gone", Body=b"x")
        client.delete_object(Bucket="store", Key="gone")
        upload = client.create_multipart_upload(Bucket="store", Key="large")["UploadId"]
        where = {"Bucket": "store", "Key": "large", "UploadId": upload}
        parts = [
            {"PartNumber": number, "ETag": client.upload_part(PartNumber=number, Body=body, **where)["ETag"]}
            for number, body in ((1, b"y" * (5 << 20)), (2, b"end"))
        ]
        client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **where)
        client.delete_bucket(Bucket="removed")
    with s3(tmp_path) as client:
        assert [one["Name"] for one in client.list_buckets()["Buckets"]] == ["store"]
        assert client.get_bucket_versioning(Bucket="store")["Status"] == "Enabled"
        assert client.get_bucket_tagging(Bucket="store")["TagSet"] == [{"Key": "Owner", "Value": "shop"}]
        found = client.get_object(Bucket="store", Key="a/b")
        assert (found["Body"].read(), found["Metadata"]) == (b"second", {"sha256": "2"})
        assert client.get_object(Bucket="store", Key="large")["Body"].read().endswith(b"yend")
        names = [one["Key"] for one in client.list_objects_v2(Bucket="store")["Contents"]]
        assert names == ["a/b", "large"]
        versions = client.list_object_versions(Bucket="store")
        assert [one["Key"] for one in versions["Versions"]].count("a/b") == 2
        assert [one["Key"] for one in versions["DeleteMarkers"]] == ["gone"]
        client.put_object(Bucket="store", Key="new", Body=b"z")
    with s3(tmp_path) as client:
        assert client.get_object(Bucket="store", Key="new")["Body"].read() == b"z"

"""Buckets of ours in S3, by idempotent look-up: marked by tags, with old versions.

AWS itself encrypts every new bucket and blocks public access to it; neither is turned off here:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-bucket-encryption.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
amazon.aws.s3_bucket would do the same, but reads a dozen more settings, so its user needs a dozen more permissions.
"""

from __future__ import annotations

from typing import Any

try:
    from botocore.exceptions import ClientError
except ImportError:
    ClientError = Exception

from ansible.module_utils.retailflow_aws import AwsWork, ForeignError

MISSING = ("404", "NoSuchKey", "NoSuchBucket", "NotFound", "NoSuchTagSet", "NoSuchLifecycleConfiguration")
DELETED_AT_ONCE = 1000  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html


def found(call: Any, **arguments: Any) -> Any:
    """Call the API; None where the thing is not there."""
    try:
        return call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return None
        raise


class Bucket(AwsWork):
    """A bucket of ours that keeps old versions."""

    def __init__(self, s3: Any, name: str, tags: dict[str, Any], check_mode: bool = False) -> None:
        super().__init__(tags, check_mode)
        self.s3, self.name = s3, name

    def is_there(self) -> bool:
        """Whether there is such a bucket; ForeignError where it is another's. Anybody in the world may have taken its name."""
        try:
            there = found(self.s3.head_bucket, Bucket=self.name) is not None
        except ClientError as error:
            if error.response["Error"]["Code"] in ("403", "AccessDenied"):
                raise ForeignError(
                    f"the bucket {self.name} may not be read: it belongs to another account, or a policy of docs/policies is not "
                    "attached"
                ) from error
            raise
        if there:
            tags = (found(self.s3.get_bucket_tagging, Bucket=self.name) or {}).get("TagSet", [])
            if not self.is_ours(tags):
                raise ForeignError(f"the bucket {self.name} lacks the tag {self.mark}")
        return there

    def ensure(self, undelete_days: int | None = None) -> None:
        """Make the bucket and set what differs; ForeignError for one that is not ours.

        With `undelete_days` it keeps replaced and deleted objects for so long only, and ends uploads that were given up.
        """
        if not self.is_there():
            region = self.s3.meta.region_name
            where = {} if region == "us-east-1" else {"LocationConstraint": region}
            configuration = {"CreateBucketConfiguration": where} if where else {}
            self.act(f"make the bucket {self.name}", self.s3.create_bucket, Bucket=self.name, **configuration)
            self.act(
                f"tag the bucket {self.name}",
                self.s3.put_bucket_tagging,
                Bucket=self.name,
                Tagging={"TagSet": self.tag_list},
            )
        versioning = found(self.s3.get_bucket_versioning, Bucket=self.name) or {}
        if versioning.get("Status") != "Enabled":
            self.act(
                f"keep old versions in the bucket {self.name}",
                self.s3.put_bucket_versioning,
                Bucket=self.name,
                VersioningConfiguration={"Status": "Enabled"},
            )
        if undelete_days is not None:
            self.limit(undelete_days)

    def limit(self, undelete_days: int) -> None:
        """Set the rule of old versions; rules of others stay."""
        wanted = {
            "ID": "replaced",
            "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": undelete_days},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        }
        rules = (found(self.s3.get_bucket_lifecycle_configuration, Bucket=self.name) or {}).get("Rules", [])
        if not any(wanted.items() <= one.items() for one in rules):
            others = [one for one in rules if one.get("ID") != "replaced"]
            self.act(
                f"set how long the bucket {self.name} keeps replaced objects",
                self.s3.put_bucket_lifecycle_configuration,
                Bucket=self.name,
                LifecycleConfiguration={"Rules": [*others, wanted | {"Filter": {"Prefix": ""}}]},
            )

    def remove(self) -> None:
        """Remove the bucket with every version of every object; ForeignError, and nothing is touched, where it is not ours."""
        if self.is_there():
            self.act(f"remove the bucket {self.name} with all that is in it", self._remove)

    def _remove(self) -> dict[str, Any]:
        while True:  # always the first page: what was listed before is gone
            page = self.s3.list_object_versions(Bucket=self.name, MaxKeys=DELETED_AT_ONCE)
            listed = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            if not listed:
                break
            objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in listed]
            answer = self.s3.delete_objects(Bucket=self.name, Delete={"Objects": objects, "Quiet": True})
            for one in answer.get("Errors", []):  # the call itself succeeds
                raise ClientError({"Error": one}, "DeleteObjects")
        self.s3.delete_bucket(Bucket=self.name)
        return {}

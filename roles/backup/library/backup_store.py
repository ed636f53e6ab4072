"""Ansible module: the S3 bucket of backups, by idempotent look-up."""

from __future__ import annotations

from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_aws import AwsWork, ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: backup_store
short_description: Make the bucket of backups
description:
  - It is versioned, keeps replaced and deleted objects for some days, and ends uploads that were given up.
  - AWS itself encrypts every new bucket and blocks public access to it; neither is turned off here. See
    U(https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-bucket-encryption.html) and
    U(https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html).
  - amazon.aws.s3_bucket would do the same, but reads a dozen more settings, so its user needs a dozen more permissions.
  - A bucket that lacks O(tags) is refused. Nothing is ever removed.
options:
  bucket: {description: Name of the bucket., type: str, required: true}
  tags: {description: Tags of the bucket., type: dict, required: true}
  undelete_days: {description: Days for which replaced and deleted objects are kept., type: int, default: 30}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be done.}
"""

EXAMPLES = r"""
- name: Make the bucket
  backup_store:
    bucket: shop-backup-123456789012-us-east-1
    tags: {BackupOf: shop}
"""

RETURN = r"""
actions: {description: What was done, or would be., type: list, returned: success}
"""


def code(error: Any) -> str:
    """The code of an answer of the API."""
    return str(error.response["Error"]["Code"])


class Store(AwsWork):
    """One bucket; its tags mark it."""

    def __init__(self, client: Any, bucket: str, tags: dict[str, Any], check_mode: bool) -> None:
        super().__init__(tags, check_mode)
        self.client = client
        self.bucket = bucket

    def exists(self) -> bool:
        """Whether there is such a bucket; ForeignError where it is another account's."""
        try:
            self.client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if code(error) == "404":
                return False
            if code(error) == "403":
                raise ForeignError(
                    f"nothing was changed: the bucket {self.bucket} may not be read; it is another account's, or the policy "
                    "services of docs/policies is not attached"
                ) from None
            raise
        return True

    def present_tags(self) -> list[dict[str, str]]:
        """The tags of the bucket."""
        try:
            return list(self.client.get_bucket_tagging(Bucket=self.bucket)["TagSet"])
        except ClientError as error:
            if code(error) == "NoSuchTagSet":
                return []
            raise

    def rules(self) -> list[dict[str, Any]]:
        """The rules of its objects' lives."""
        try:
            return list(self.client.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"])
        except ClientError as error:
            if code(error) == "NoSuchLifecycleConfiguration":
                return []
            raise

    def ensure(self, undelete_days: int) -> None:
        """Make the bucket and set what differs; ForeignError for one that lacks our tags."""
        there = self.exists()
        if there and not self.is_ours(self.present_tags()):
            raise ForeignError(f"nothing was changed: the bucket {self.bucket} lacks the tag {self.mark}")
        if not there:
            region = self.client.meta.region_name
            where = (
                {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            )
            self.act(f"create bucket {self.bucket}", self.client.create_bucket, Bucket=self.bucket, **where)
            self.act(
                "tag it",
                self.client.put_bucket_tagging,
                Bucket=self.bucket,
                Tagging={"TagSet": self.tag_list},
            )
        looking = there or not self.check_mode
        versioning = self.client.get_bucket_versioning(Bucket=self.bucket) if looking else {}
        if versioning.get("Status") != "Enabled":
            self.act(
                "keep versions",
                self.client.put_bucket_versioning,
                Bucket=self.bucket,
                VersioningConfiguration={"Status": "Enabled"},
            )
        wanted = {
            "ID": "replaced",
            "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": undelete_days},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        }
        rules = self.rules() if looking else []
        if not any(wanted.items() <= one.items() for one in rules):
            others = [one for one in rules if one.get("ID") != "replaced"]
            self.act(
                "set how long replaced objects are kept",
                self.client.put_bucket_lifecycle_configuration,
                Bucket=self.bucket,
                LifecycleConfiguration={"Rules": [*others, wanted | {"Filter": {"Prefix": ""}}]},
            )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "bucket": {"type": "str", "required": True},
            "tags": {"type": "dict", "required": True},
            "undelete_days": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    params = module.params
    store = Store(module.client("s3"), params["bucket"], params["tags"], module.check_mode)
    try:
        store.ensure(params["undelete_days"])
    except ForeignError as error:
        module.fail_json(msg=f"{error}. Remove it, or give it that tag if it is this site's.")
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The S3 API refused work on the bucket {params['bucket']}")
    module.exit_json(changed=bool(store.actions), actions=store.actions)


if __name__ == "__main__":
    main()

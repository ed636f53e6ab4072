"""The bucket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .basics import Json

SESSION = 1800  # seconds after which new credentials are asked for
DELETED_AT_ONCE = 1000  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
REFUSALS = (BotoCoreError, ClientError)  # what the store raises


class Store:
    """The bucket, as the configuration names it."""

    def __init__(self, config: Json) -> None:
        self.config = config
        self.bucket: str = config["bucket"]
        self._client: Any = None
        self._since = 0.0

    @property
    def s3(self) -> Any:
        """A client of the store with credentials that are still good."""
        if self._client is None or time.monotonic() - self._since > SESSION:
            options: Json = {"region_name": self.config["region"]}
            if self.config.get("endpoint_url"):
                options["endpoint_url"] = self.config["endpoint_url"]
            role = self.config.get("assume_role") or {}
            session = boto3.Session()
            if role:
                answer = boto3.client(
                    "sts",
                    aws_access_key_id=role["access_key"],
                    aws_secret_access_key=role["secret_key"],
                    **options,
                ).assume_role(RoleArn=role["role_arn"], RoleSessionName="backup")["Credentials"]
                session = boto3.Session(
                    answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"]
                )
            style = {"addressing_style": "path" if self.config.get("endpoint_url") else "auto"}
            settings = Config(
                s3=style,
                connect_timeout=5,
                read_timeout=20,
                retries={"max_attempts": 2},
                max_pool_connections=16,
            )
            self._client = session.client("s3", config=settings, **options)
            self._since = time.monotonic()
        return self._client

    def log_in_again(self) -> None:
        """Ask for new credentials before the next use: the ones that are known may be too old."""
        self._client = None

    def listed(self, prefix: str) -> Iterator[Json]:
        """Every object under a prefix, in the order of the keys."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            yield from page.get("Contents", [])

    def clusters(self) -> list[str]:
        """The system identifiers of all servers that were ever stored here."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Delimiter="/")
        return [one["Prefix"].rstrip("/") for page in pages for one in page.get("CommonPrefixes", [])]

    def head(self, key: str) -> Json | None:
        """What the store says of an object, or None."""
        try:
            return dict(self.s3.head_object(Bucket=self.bucket, Key=key))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise

    def get(self, key: str) -> Json:
        """An object: its `Body`, a stream, and its `Metadata`."""
        return dict(self.s3.get_object(Bucket=self.bucket, Key=key))

    def put(self, key: str, body: bytes, **metadata: str) -> None:
        """Store an object."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata)

    def remove(self, keys: list[str]) -> None:
        """Delete objects in their order; the bucket keeps them for some days."""
        for start in range(0, len(keys), DELETED_AT_ONCE):
            objects = [{"Key": key} for key in keys[start : start + DELETED_AT_ONCE]]
            answer = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
            for one in answer.get("Errors", []):  # the call itself succeeds
                raise ClientError({"Error": one}, "DeleteObjects")

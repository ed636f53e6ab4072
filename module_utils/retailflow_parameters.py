"""Secrets of a program as SecureString parameters of AWS's Systems Manager, one below another: /<site>/<program>/<VARIABLE>.

They are encrypted by the key that AWS keeps for it (aws/ssm), which lets everybody in the account decrypt who may read the
parameter: https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-restrict-decryption.html.
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.retailflow_aws import AwsWork


class Parameters:
    """The parameters of one program; `work` notes what is done and knows the tags, `prefix` is /<site>/<program>/."""

    def __init__(self, work: AwsWork, client: Any, prefix: str) -> None:
        self.work = work
        self.client = client
        self.prefix = prefix

    def present(self) -> dict[str, dict[str, Any]]:
        """Return the parameters that there are, by the name of the environment variable."""
        pages = self.client.get_paginator("get_parameters_by_path").paginate(
            Path=self.prefix, WithDecryption=True
        )
        return {one["Name"].rsplit("/", 1)[1]: one for page in pages for one in page["Parameters"]}

    def ensure(self, secrets: dict[str, Any]) -> dict[str, int]:
        """Bring the parameters to the secrets; return their versions, which count the values."""
        wanted = {key: str(value) for key, value in secrets.items()}
        present = self.present()
        versions = {key: int(present[key]["Version"]) if key in present else 1 for key in wanted}
        for key, value in sorted(wanted.items()):
            parameter = {"Name": self.prefix + key, "Value": value, "Type": "SecureString"}
            if key not in present:
                self.work.act(
                    f"keep the secret {key}",
                    self.client.put_parameter,
                    Tags=self.work.tag_list,
                    **parameter,
                )
            elif present[key]["Value"] != value:
                versions[key] += 1
                self.work.act(
                    f"change the secret {key}", self.client.put_parameter, Overwrite=True, **parameter
                )
        self.forget(set(present) - set(wanted))
        return versions

    def forget(self, keys: set[str] | None = None) -> None:
        """Remove these parameters, or all."""
        gone = sorted(self.present() if keys is None else keys)
        if gone:
            self.work.act(
                f"forget the secret {', '.join(gone)}",
                self.client.delete_parameters,
                Names=[self.prefix + key for key in gone],
            )

    def untagged(self) -> list[str]:
        """Return the names of parameters that are there and lack our tags."""
        names = [one["Name"] for one in self.present().values()]
        return [name for name in names if not self.work.is_ours(self._tags(name))]

    def _tags(self, name: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.client.list_tags_for_resource(
            ResourceType="Parameter", ResourceId=name
        )["TagList"]
        return found

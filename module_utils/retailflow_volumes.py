"""Volumes with the data of a site's hosts, found by their tags: they outlive the hosts and Terraform's state."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

THERE = ["creating", "available", "in-use"]


@dataclass(frozen=True)
class Volume:
    """A volume with the data of one role's host; `instance` is the id of the host that it is attached to, or empty."""

    id: str
    role: str
    zone: str
    gb: int
    instance: str

    def __str__(self) -> str:
        return f"{self.id} of {self.role}, {self.gb} GB in {self.zone}"

    def as_dict(self) -> dict[str, Any]:
        """The volume as a module returns it."""
        return asdict(self)


def data_volumes(ec2: Any, site: str) -> list[Volume]:
    """Return the volumes that terraform/hosts.tf marks as data of the site: Project, Role and a Name that follows from both."""
    filters = [{"Name": "tag:Project", "Values": [site]}, {"Name": "status", "Values": THERE}]
    found = []
    for page in ec2.get_paginator("describe_volumes").paginate(Filters=filters):
        for one in page["Volumes"]:
            tags = boto3_tag_list_to_ansible_dict(one["Tags"])
            role = tags.get("Role", "")
            if role and tags.get("Name") == f"{site}-{role.replace('_', '-')}-data":
                attached = [each["InstanceId"] for each in one.get("Attachments", [])]
                instance = attached[0] if attached else ""
                volume = Volume(
                    one["VolumeId"], role, one["AvailabilityZone"], int(one["Size"]), str(instance)
                )
                found.append(volume)
    return sorted(found, key=lambda volume: (volume.role, volume.id))


def of_one_role(volumes: list[Volume]) -> list[str]:
    """Return a sentence for each role that has more than one volume, of which nobody knows which is the right one."""
    roles: dict[str, list[Volume]] = {}
    for one in volumes:
        roles.setdefault(one.role, []).append(one)
    return [
        f"volumes: there are {len(found)} with the data of {role}: {', '.join(one.id for one in found)}; remove the tag Project "
        "of the ones that are not the site's, or delete them"
        for role, found in sorted(roles.items())
        if len(found) > 1
    ]

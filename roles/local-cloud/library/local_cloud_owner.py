"""Ansible module: refuse a site that runs on this machine and belongs to another clone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    import docker
    from docker.errors import APIError, DockerException
    from docker.types import Mount
except ImportError:
    docker = None

DOCUMENTATION = r"""
---
module: local_cloud_owner
short_description: Refuse a site that runs on this machine and belongs to another clone
description:
  - Two clones that make a site of the same name would take it from each other, with other secrets. The site belongs to the clone
    whose secrets its containers mount. A clone that was moved or removed owns nothing any more, and one with the same secrets, as
    C(make recover) brings them back, is as good as the first. Where no engine answers there is no site.
  - The engine is asked whether a clone that is not seen is there. A control node that is a container sees no clone but its own.
options:
  labels: {description: The mark of the site., type: dict, required: true}
  secrets_dir: {description: The folder of this clone's secrets., type: path, required: true}
requirements: [docker]
author: RetailFlow
attributes:
  check_mode: {support: full, description: It only looks; the container by which it asks the engine never starts.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: Refuse the site of another clone
  local_cloud_owner:
    labels: {retailflow.site: retailflow}
    secrets_dir: /srv/retailflow/.secrets/local
"""

RETURN = r"""
owner: {description: The clone to which the site belongs; empty where it is this one or nobody's., type: str, returned: always}
"""

#: What a site has from its first minute on, another one for each, and what is mounted of a clone's secrets.
SECRET = "aws_operator"
MOUNTED = "mounted"


def others(client: Any, labels: dict[str, str]) -> dict[Path, str]:
    """Return the folders of secrets that containers of the site mount, each with the image of one that does."""
    filters = {"label": [f"{key}={value}" for key, value in labels.items()]}
    return {
        parent.parent: one["ImageID"]
        for one in client.api.containers(all=True, filters=filters)
        for mount in one["Mounts"]
        if mount["Type"] == "bind"
        for parent in Path(mount["Source"]).parents
        if parent.name == MOUNTED and parent.parent.parent.name == ".secrets"
    }


def there(client: Any, folder: Path, image: str) -> bool:
    """Tell whether a folder is there, as it is to be believed of one that may not be looked into.

    The engine refuses to create a container that binds a folder which is not there: `validateMountConfigImpl` of
    volume/mounts/linux_parser.go in moby, `bind source path does not exist`. Nothing starts.
    """
    try:
        if folder.exists():
            return True
    except OSError:
        return True
    bound = client.api.create_host_config(mounts=[Mount("/clone", str(folder), type="bind", read_only=True)])
    try:
        probe = client.api.create_container(image, host_config=bound)
    except APIError as error:
        return "does not exist" not in str(error)
    client.api.remove_container(probe["Id"], force=True)
    return True


def same_secrets(one: Path, another: Path) -> bool:
    """Tell whether two folders hold the secrets of one site; False for one that may not be read."""
    try:
        return (one / SECRET).read_bytes() == (another / SECRET).read_bytes()
    except OSError:
        return False


def owner(client: Any, labels: dict[str, str], secrets_dir: Path) -> str:
    """Return the clone to which the site belongs, or nothing where it is this one or nobody's."""
    for folder, image in sorted(others(client, labels).items()):
        ours = folder.resolve() == secrets_dir.resolve() or same_secrets(folder, secrets_dir)
        if not ours and there(client, folder, image):
            return str(folder.parents[1])
    return ""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "labels": {"type": "dict", "required": True},
            "secrets_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    if docker is None:
        module.fail_json(
            msg="The Python package docker is missing on the control node; see requirements.txt."
        )
    try:
        found = owner(
            docker.from_env(timeout=60), module.params["labels"], Path(module.params["secrets_dir"])
        )
    except DockerException:
        found = ""
    if found:
        module.fail_json(
            msg=f"Nothing was changed. The site on this machine belongs to the clone {found}: go on there, or remove it there "
            "first (`make down`).",
            owner=found,
        )
    module.exit_json(changed=False, owner="")


if __name__ == "__main__":
    main()

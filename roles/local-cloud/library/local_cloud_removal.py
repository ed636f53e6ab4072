"""Ansible module: remove what the local cloud owns on this machine's Docker engine, and nothing else."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    import docker
    from docker.errors import APIError, DockerException, NotFound
except ImportError:
    docker = None

DOCUMENTATION = r"""
---
module: local_cloud_removal
short_description: Remove every container, volume, network and image that the local cloud owns
description:
  - Owned is what carries the labels, and what was made inside it, namely containers on an owned network or of an
    owned image (the emulated Lambda starts such) and the volumes that owned containers mount.
  - What carries the label of another site on this machine stays, and so do the images that both use. The last site takes those
    along.
options:
  name: {description: Prefix of the owned image names., type: str, required: true}
  labels: {description: The mark of ownership., type: dict, required: true}
requirements: [docker]
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be removed.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: Remove everything
  local_cloud_removal:
    name: retailflow
    labels: {retailflow.site: retailflow}
"""

RETURN = r"""
removed: {description: What was removed, by kind., type: dict, returned: success}
"""


def other_sites(client: Any, name: str, labels: dict[str, str]) -> set[str]:
    """Return the names of other sites: those of their services' labels, and of their base images, which come first and last."""
    services = client.api.containers(all=True, filters={"label": [*labels, "retailflow.service"]})
    bases = client.api.images(name="*/rootfs:latest")
    names = {one["Labels"][key] for one in services for key in labels}
    names |= {
        tag.split("/")[0] for one in bases for tag in one["RepoTags"] or [] if tag.endswith("/rootfs:latest")
    }
    return names - {name, *labels.values()}


def find_owned(client: Any, name: str, labels: dict[str, str]) -> dict[str, list[str]]:
    """Return names or ids of all owned objects by kind: containers, volumes, networks, images.

    Images are ids, and tags while there is another site: by its id an image would go with the other site's tags.
    """
    label = {"label": [f"{key}={value}" for key, value in labels.items()]}
    others = other_sites(client, name, labels)

    def is_others(found: dict[str, Any]) -> bool:
        return any((found.get("Labels") or {}).get(key) in others for key in labels)

    networks = client.api.networks(filters=label)
    # All of a sort where this is the last site: some have the labels of a site that is gone.
    images = client.api.images(filters=label if others else {"label": list(labels)}, all=False)
    images += [
        one for one in client.api.images(name=f"{name}/*") if one["Id"] not in {i["Id"] for i in images}
    ]
    filters = [label]
    filters += [{"network": network["Id"]} for network in networks]
    filters += [{"ancestor": image["Id"]} for image in images]
    containers = {
        one["Id"]: one
        for each in filters
        for one in client.api.containers(all=True, filters=each)
        if not is_others(one)
    }
    all_volumes = client.api.volumes()["Volumes"] or []
    volumes = {one["Name"] for one in client.api.volumes(filters=label)["Volumes"] or []}
    for container in containers.values():
        volumes |= {mount["Name"] for mount in container["Mounts"] if mount["Type"] == "volume"}
    volumes |= {one["Name"] for one in all_volumes if one["Name"].startswith(f"{name}-")}
    volumes -= {one["Name"] for one in all_volumes if is_others(one)}
    tags = [tag for image in images for tag in image["RepoTags"] or [] if tag.startswith(f"{name}/")]
    ids = [image["Id"] for image in sorted(images, key=lambda one: -one["Created"])]
    return {
        "containers": sorted(containers),
        "volumes": sorted(volumes),
        "networks": sorted(network["Id"] for network in networks),
        "images": sorted(tags) if others else ids,
    }


def remove(client: Any, owned: dict[str, list[str]]) -> None:
    """Remove the objects, containers first; what is gone already is no error."""
    steps = {
        "containers": lambda one: client.api.remove_container(one, v=True, force=True),
        "volumes": lambda one: client.api.remove_volume(one, force=True),
        "networks": client.api.remove_network,
        "images": lambda one: client.api.remove_image(one, force=True),
    }
    for kind, step in steps.items():
        for one in owned[kind]:
            try:
                step(one)
            except NotFound:
                continue


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "labels": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    if docker is None:
        module.fail_json(
            msg="The Python package docker is missing on the control node; see requirements.txt."
        )
    try:
        client = docker.from_env(timeout=300)
        owned = find_owned(client, module.params["name"], module.params["labels"])
        if not module.check_mode:
            remove(client, owned)
            left = find_owned(client, module.params["name"], module.params["labels"])
            if any(left.values()):
                module.fail_json(msg=f"These objects could not be removed: {left}")
    except APIError as error:
        module.fail_json(msg=f"The Docker engine refused: {error.explanation}")
    except DockerException as error:
        module.fail_json(msg=f"The Docker engine of this machine does not answer: {error}")
    module.exit_json(changed=any(owned.values()), removed=owned)


if __name__ == "__main__":
    main()

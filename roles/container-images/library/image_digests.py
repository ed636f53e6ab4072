"""Ansible module: keep the digests that tags of images have in their registries, in a file of variables."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.basic import AnsibleModule

try:
    import docker
    from docker.errors import APIError, DockerException
except ImportError:
    docker = None

DOCUMENTATION = r"""
---
module: image_digests
short_description: Keep the digests that tags of images have in their registries
description:
  - A tag can be moved to another content, a digest cannot. The engine of this machine asks the registries; nothing is pulled.
  - All digests are found out before the file is written, so a registry that does not answer changes nothing.
options:
  images: {description: "The images, each a name with a tag.", type: list, elements: str, required: true}
  path: {description: The file of variables., type: path, required: true}
  variable: {description: "The dictionary in it, from image to digest.", type: str, required: true}
requirements: [docker]
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be written.}
  diff_mode: {support: full, description: Shows the old and the new digests.}
"""

EXAMPLES = r"""
- name: Raise two images
  image_digests:
    images: ["postgres:17", "debian:bookworm-slim"]
    path: /src/inventory/group_vars/aws/digests.yml
    variable: image_digests
"""

RETURN = r"""
digests: {description: Image to digest., type: dict, returned: success}
raised: {description: The images whose digest is new., type: list, elements: str, returned: success}
"""

HEAD = """---
# What the tags of upstream's images stood for when `make pin-images TARGET=aws` was last run, which writes this file.
"""


def tagged(image: str) -> bool:
    """Whether a name has a tag and no digest."""
    return "@" not in image and ":" in image.rsplit("/", 1)[-1]


def read(path: Path, variable: str) -> dict[str, str]:
    """The digests that are kept; none where there is no file."""
    return (yaml.safe_load(path.read_text()) or {}).get(variable) or {} if path.exists() else {}


def write(path: Path, variable: str, digests: dict[str, str]) -> None:
    """Replace the file as a whole."""
    text = HEAD + yaml.safe_dump({variable: digests}, sort_keys=True, width=200)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".digests")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.chmod(name, 0o644)
    os.replace(name, path)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "path", "required": True},
            "variable": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    if docker is None:
        module.fail_json(
            msg="The Python package docker is missing on the control node; see requirements.txt."
        )
    if untagged := [image for image in params["images"] if not tagged(image)]:
        module.fail_json(
            msg=f"Nothing was written. These images have no tag, or a digest already: {', '.join(untagged)}."
        )
    try:
        client = docker.from_env(timeout=60)
        digests = {image: client.images.get_registry_data(image).id for image in params["images"]}
    except APIError as error:
        module.fail_json(
            msg=f"Nothing was written. A registry did not name a digest: {error.explanation or error}"
        )
    except DockerException as error:
        module.fail_json(
            msg=f"Nothing was written. The Docker engine of the control node does not answer: {error}"
        )
    path = Path(params["path"])
    before = read(path, params["variable"])
    changed = before != digests
    if changed and not module.check_mode:
        write(path, params["variable"], digests)
    module.exit_json(
        changed=changed,
        digests=digests,
        raised=[image for image in digests if before.get(image) != digests[image]],
        diff={"before": yaml.safe_dump(before), "after": yaml.safe_dump(digests)} if changed else {},
    )


if __name__ == "__main__":
    main()

"""Ansible module: build container images whose tags are hashes of their content, and push them."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.container_images.builder import Builder, write_result
from ansible.module_utils.container_images.errors import ImageError

try:
    import docker
    from docker.errors import APIError, DockerException
except ImportError:
    docker = None

DOCUMENTATION = r"""
---
module: container_image
short_description: Build container images tagged by content, and push them
description:
  - Computes a hash over everything that goes into an image and uses it as the tag, so that an image is built
    exactly when no image of that content exists.
  - Images that do not depend on each other are built two at a time.
  - What a named image is built on is built too, and is not pushed.
options:
  images:
    description: The images, each with C(name), C(dockerfile), C(paths), C(exclude), C(base) and C(args).
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name within the namespace., type: str, required: true}
      dockerfile: {description: Path of the Dockerfile below the root., type: str, required: true}
      paths: {description: Files and folders of the build context., type: list, elements: str, default: []}
      exclude: {description: Patterns of paths to leave out., type: list, elements: str, default: []}
      base: {description: "Another image of the list, or any image of the engine: the build argument BASE.", type: str}
      args: {description: More build arguments., type: dict, default: {}}
  names: {description: Names of the images that are needed; empty means all., type: list, elements: str, default: []}
  root: {description: Folder to which all paths are relative., type: path, required: true}
  namespace: {description: First part of every image name., type: str, required: true}
  labels: {description: Labels of every image., type: dict, default: {}}
  push: {description: Registry as this machine sees it; empty pushes nothing., type: str, default: ""}
  login:
    description: Login of that registry, with C(username) and C(password). With one it is spoken to by TLS.
    type: dict
    default: {}
  reference_registry: {description: The same registry as the hosts see it., type: str, default: ""}
  result_file: {description: JSON file that maps names to references., type: path, required: true}
  log_dir: {description: Folder for the build logs., type: path, required: true}
  timeout: {description: Seconds that one call of the engine may stay silent., type: int, default: 1800}
requirements: [docker]
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be built.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: Build two images, the second on the first
  container_image:
    root: /src
    namespace: shop
    images:
      - {name: python, dockerfile: images/python/Dockerfile, base: "debian:bookworm-slim"}
      - {name: api, dockerfile: api/Dockerfile, paths: [api/src], base: python}
    result_file: /src/.state/images.json
    log_dir: /src/.state/logs
"""

RETURN = r"""
references: {description: Name to reference of the images that are needed., type: dict, returned: success}
built: {description: Names that were built., type: list, returned: success}
pushed: {description: Names that were pushed., type: list, returned: success}
"""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "images": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "dockerfile": {"type": "str", "required": True},
                    "paths": {"type": "list", "elements": "str", "default": []},
                    "exclude": {"type": "list", "elements": "str", "default": []},
                    "base": {"type": "str"},
                    "args": {"type": "dict", "default": {}},
                },
            },
            "names": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "path", "required": True},
            "namespace": {"type": "str", "required": True},
            "labels": {"type": "dict", "default": {}},
            "push": {"type": "str", "default": ""},
            "login": {"type": "dict", "default": {}, "no_log": True},
            "reference_registry": {"type": "str", "default": ""},
            "result_file": {"type": "path", "required": True},
            "log_dir": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    if docker is None:
        module.fail_json(
            msg="The Python package docker is missing on the control node; see requirements.txt."
        )
    try:
        client = docker.from_env(timeout=module.params["timeout"])
        builder = Builder(client, module.params, module.check_mode)
        outcomes = builder.run()
        references = {name: outcomes[name].reference for name in sorted(builder.names)}
        written = write_result(Path(module.params["result_file"]), references, module.check_mode)
    except (ImageError, APIError) as error:
        module.fail_json(msg=str(error))
    except DockerException as error:
        module.fail_json(msg=f"The Docker engine of the control node does not answer: {error}")
    done = {
        action: [name for name, outcome in outcomes.items() if action in outcome.actions]
        for action in ("built", "tagged", "pushed")
    }
    module.exit_json(changed=written or any(done.values()), references=references, **done)


if __name__ == "__main__":
    main()

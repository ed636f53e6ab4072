"""Ansible module: repositories of images in ECR, and how to log in to them."""

from __future__ import annotations

import base64
import json
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_aws import AwsWork, ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: ecr_repositories
short_description: Make or remove image repositories in ECR, and log in
description:
  - A repository scans what is pushed, lets no tag be moved, and keeps the newest images only.
  - Returns the registry and a login that is good for twelve hours, so hide the result.
  - Removing a repository removes its images too; a repository that lacks O(tags) is refused.
options:
  names: {description: Names of the repositories., type: list, elements: str, required: true}
  state: {description: Whether they are there., type: str, choices: [present, absent], default: present}
  tags: {description: Tags that mark everything as ours., type: dict, default: {}}
  keep: {description: Images that a repository keeps., type: int, default: 5}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be done.}
"""

EXAMPLES = r"""
- name: Make a repository
  ecr_repositories:
    names: [shop/api]
    tags: {Project: shop}
  register: repositories
  no_log: true
"""

RETURN = r"""
registry: {description: Host name of the registry., type: str, returned: state is present}
username: {description: Login., type: str, returned: state is present}
password: {description: Its password for twelve hours., type: str, returned: state is present}
actions: {description: What was done, or would be., type: list, returned: success}
"""


class Repositories(AwsWork):
    """Repositories of one account and region."""

    def __init__(self, client: Any, tags: dict[str, Any], keep: int, check_mode: bool) -> None:
        super().__init__(tags, check_mode)
        self.client = client
        self.keep = keep

    def find(self, name: str) -> dict[str, Any] | None:
        """Return a repository, or None; ForeignError where it lacks the tags."""
        try:
            found: dict[str, Any] = self.client.describe_repositories(repositoryNames=[name])["repositories"][
                0
            ]
        except self.client.exceptions.RepositoryNotFoundException:
            return None
        listed = self.client.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
        if not self.is_ours(listed):
            raise ForeignError(
                f"the repository {name} exists and lacks the tag {self.mark}; it is left alone"
            )
        return found

    def policy(self) -> str:
        """Return the rule by which old images go."""
        selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": self.keep}
        rule = {"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}
        return json.dumps({"rules": [rule]}, sort_keys=True)

    def ensure(self, name: str) -> None:
        """Make a repository, and put back what was changed by hand."""
        found = self.find(name)
        if found is None:
            self.act(
                f"make the repository {name}",
                self.client.create_repository,
                repositoryName=name,
                imageTagMutability="IMMUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
                tags=self.tag_list,
            )
        elif found.get("imageTagMutability") != "IMMUTABLE":
            self.act(
                f"let no tag of {name} be moved",
                self.client.put_image_tag_mutability,
                repositoryName=name,
                imageTagMutability="IMMUTABLE",
            )
        present = None
        if found is not None:
            try:
                answer = self.client.get_lifecycle_policy(repositoryName=name)
                present = json.loads(answer["lifecyclePolicyText"])
            except self.client.exceptions.LifecyclePolicyNotFoundException:
                present = None
        if present != json.loads(self.policy()):
            self.act(
                f"keep {self.keep} images in {name}",
                self.client.put_lifecycle_policy,
                repositoryName=name,
                lifecyclePolicyText=self.policy(),
            )

    def remove(self, name: str) -> None:
        """Remove a repository with its images, where there is one."""
        if self.find(name) is not None:
            self.act(
                f"remove the repository {name}",
                self.client.delete_repository,
                repositoryName=name,
                force=True,
            )

    def login(self) -> dict[str, str]:
        """Return registry, username and password."""
        found = self.client.get_authorization_token()["authorizationData"][0]
        username, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
        registry = found["proxyEndpoint"].removeprefix("https://")
        return {"registry": registry, "username": username, "password": password}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "tags": {"type": "dict", "default": {}},
            "keep": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    params = module.params
    repositories = Repositories(module.client("ecr"), params["tags"], params["keep"], module.check_mode)
    result: dict[str, str] = {}
    try:
        for name in params["names"]:
            if params["state"] == "present":
                repositories.ensure(name)
            else:
                repositories.remove(name)
        if params["state"] == "present":
            result = repositories.login()
    except ForeignError as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg="The ECR API refused work on the repositories")
    module.exit_json(changed=bool(repositories.actions), actions=repositories.actions, **result)


if __name__ == "__main__":
    main()

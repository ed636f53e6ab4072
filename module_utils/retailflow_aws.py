"""What the modules that change something in AWS share, beside amazon.aws's own session, tags and error checks.

Ansible finds this folder by `module_utils` in ansible.cfg, so roles and playbooks import it alike.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)


class ForeignError(Exception):
    """Something has our name but not our tags, so it is left alone."""


class AwsWork:
    """Work on the AWS API that looks before it changes; what it did, or in check mode would do, is in actions."""

    def __init__(self, tags: dict[str, Any], check_mode: bool) -> None:
        self.tags = {key: str(value) for key, value in tags.items()}
        self.check_mode = check_mode
        self.actions: list[str] = []

    def act(self, action: str, call: Any, **arguments: Any) -> dict[str, Any]:
        """Note an action and, outside of check mode, call the API; return its answer."""
        self.actions.append(action)
        return {} if self.check_mode else call(**arguments)

    def is_ours(self, found: dict[str, str] | list[dict[str, str]] | None) -> bool:
        """Whether tags, as a mapping or as any of the lists by which AWS answers, include ours."""
        present = found if isinstance(found, dict) else boto3_tag_list_to_ansible_dict(found or [])
        return self.tags.items() <= present.items()

    @property
    def mark(self) -> str:
        """Our tags as a person reads them: `Project=shop`."""
        return ", ".join(f"{key}={value}" for key, value in sorted(self.tags.items()))

    @property
    def tag_list(self) -> list[dict[str, str]]:
        """Our tags as most services take them: Key, Value."""
        listed: list[dict[str, str]] = ansible_dict_to_boto3_tag_list(self.tags)
        return listed

    @property
    def ecs_tag_list(self) -> list[dict[str, str]]:
        """Our tags as ECS takes them: key, value."""
        listed: list[dict[str, str]] = ansible_dict_to_boto3_tag_list(self.tags, "key", "value")
        return listed

"""Ansible module: the secrets of a site in SSM's Parameter Store, of which a folder on the control node is a copy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_aws import AwsWork, ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: secrets_store
short_description: Keep a folder of secrets and SSM's Parameter Store the same
description:
  - Each file of the folder is a parameter of type SecureString below O(path).
  - O(state=fetched) writes the files that are missing. O(state=present) also stores those that the store does not have.
    O(state=absent) removes the parameters; the files stay.
    O(state=replaced) overwrites the parameters of O(names) with the files of these names below C(next), for `make rotate`.
  - Nothing else is ever overwritten, in the folder or in the store. A file that differs from its parameter is refused by name.
options:
  path: {description: "Beginning of the parameters' names, such as C(/shop)", type: str, required: true}
  folder: {description: The folder of secrets., type: path, required: true}
  state:
    description: What to do.
    type: str
    choices: [fetched, present, replaced, absent]
    default: present
  names:
    description: With O(state=replaced), the files of new secrets.
    type: list
    elements: str
    default: []
  tags: {description: Tags that mark the parameters as ours., type: dict, required: true}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Refuses and reports what would be done.}
"""

EXAMPLES = r"""
- name: Get the secrets of a site
  secrets_store:
    path: /shop
    folder: /srv/shop/secrets
    state: fetched
    tags: {Project: shop}
"""

RETURN = r"""
actions: {description: "What was done, or would be, by the name of the file.", type: list, returned: success}
"""


class DifferenceError(Exception):
    """A file and its parameter differ."""


class Store(AwsWork):
    """The parameters of a site and their copies."""

    def __init__(self, client: Any, path: str, folder: Path, tags: dict[str, Any], check_mode: bool) -> None:
        super().__init__(tags, check_mode)
        self.client = client
        self.prefix = path.rstrip("/") + "/"
        self.folder = folder

    def stored(self) -> dict[str, str]:
        """Return the secrets of the store by the name of their file; ForeignError where one lacks our tags."""
        pages = self.client.get_paginator("get_parameters_by_path").paginate(
            Path=self.prefix, WithDecryption=True
        )
        found = {
            one["Name"].removeprefix(self.prefix): str(one["Value"])
            for page in pages
            for one in page["Parameters"]
        }
        for name in found:
            tags = self.client.list_tags_for_resource(
                ResourceType="Parameter", ResourceId=self.prefix + name
            )["TagList"]
            if not self.is_ours(tags):
                raise ForeignError(
                    f"nothing was changed: the parameter {self.prefix}{name} lacks the tag {self.mark}"
                )
        return found

    def kept(self) -> dict[str, str]:
        """Return the secrets of the folder. A file that is hidden, or no file at all, is none."""
        if not self.folder.is_dir():
            return {}
        files = sorted(
            path for path in self.folder.iterdir() if path.is_file() and not path.name.startswith(".")
        )
        return {path.name: path.read_text(encoding="utf-8") for path in files}

    def compare(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return what the store and the folder have; DifferenceError where both have a secret and it differs."""
        stored, kept = self.stored(), self.kept()
        differing = sorted(name for name in stored.keys() & kept.keys() if stored[name] != kept[name])
        if differing:
            if (self.folder / "next").is_dir():
                raise DifferenceError(
                    f"nothing was changed: a rotation of {', '.join(differing)} was cut off. Run make rotate again, which ends it"
                )
            raise DifferenceError(
                f"nothing was changed: {', '.join(str(self.folder / name) for name in differing)} differ from what the site has "
                f"in the Parameter Store below {self.prefix}. Move these files away to take the site's, or put them there on "
                "purpose with `aws ssm put-parameter --overwrite` to change the site's"
            )
        return stored, kept

    def fetch(self) -> None:
        """Write the files that are missing."""
        stored, kept = self.compare()
        for name in sorted(stored.keys() - kept.keys()):
            self.act(f"fetch {name}", self.write, name=name, value=stored[name])

    def write(self, name: str, value: str) -> dict[str, Any]:
        """Write a secret so that nobody else can read it, at no moment."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        with os.fdopen(
            os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(value)
        return {}

    def ensure(self) -> None:
        """Fetch what is missing, and store what the store does not have."""
        stored, kept = self.compare()
        for name in sorted(stored.keys() - kept.keys()):
            self.act(f"fetch {name}", self.write, name=name, value=stored[name])
        for name in sorted(kept.keys() - stored.keys()):
            self.act(
                f"store {name}",
                self.client.put_parameter,
                Tags=self.tag_list,
                **self.parameter(name, kept[name]),
            )

    def replace(self, names: list[str]) -> None:
        """Overwrite parameters with the new files; one whose file took its place already is compared with that one."""
        stored = self.stored()
        for name in names:
            new = self.folder / "next" / name
            value = (new if new.exists() else self.folder / name).read_text(encoding="utf-8")
            if name not in stored:
                self.act(
                    f"store {name}",
                    self.client.put_parameter,
                    Tags=self.tag_list,
                    **self.parameter(name, value),
                )
            elif stored[name] != value:
                # Not with tags: "tags and overwrite can't be used together", says the API.
                self.act(
                    f"replace {name}",
                    self.client.put_parameter,
                    Overwrite=True,
                    **self.parameter(name, value),
                )

    def parameter(self, name: str, value: str) -> dict[str, str]:
        """A secret as the API takes it."""
        return {
            "Name": self.prefix + name,
            "Value": value,
            "Type": "SecureString",
            "Description": "A secret of the site; the control node has a copy.",
        }

    def remove(self) -> None:
        """Remove the parameters; ForeignError, and nothing is touched, where one is not ours."""
        for name in sorted(self.stored()):
            self.act(f"remove {name}", self.client.delete_parameter, Name=self.prefix + name)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "state": {
                "type": "str",
                "choices": ["fetched", "present", "replaced", "absent"],
                "default": "present",
            },
            "names": {"type": "list", "elements": "str", "default": []},
            "tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    store = Store(
        module.client("ssm"), params["path"], Path(params["folder"]), params["tags"], module.check_mode
    )
    try:
        if params["state"] == "replaced":
            store.replace(params["names"])
        else:
            {"fetched": store.fetch, "present": store.ensure, "absent": store.remove}[params["state"]]()
    except (DifferenceError, ForeignError) as error:
        module.fail_json(msg=f"The secrets of the site: {error}.")
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(
            error, msg=f"The Parameter Store refused work on the secrets below {params['path']}"
        )
    module.exit_json(changed=bool(store.actions), actions=store.actions)


if __name__ == "__main__":
    main()

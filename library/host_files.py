"""Ansible module: folders, files and links of a host in one step, where a task for each would cost a login each."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text

DOCUMENTATION = r"""
---
module: host_files
short_description: Write folders, files and links in one step
description:
  - Removes O(absent), makes O(folders), writes O(files) and makes O(links), in this order, each only where it differs.
  - All contents are checked with their C(validate) before the first file is written, so bad input changes no file.
  - A file is replaced as a whole. Whoever reads it meanwhile sees the old content or the new one.
options:
  folders:
    description: "Folders, each with C(path) and C(mode), C(owner), C(group) where they differ from 0755, root and root."
    type: list
    elements: dict
    default: []
  files:
    description:
      - "Files, each with C(path), C(content) and C(mode), C(owner), C(group) where they differ from 0644, root and root."
      - "C(validate) is a command with C(%s) for the file, which accepts the content; C(secret) leaves the content out of a diff."
    type: list
    elements: dict
    default: []
  links: {description: "Symbolic links, each with C(path) and C(target).", type: list, elements: dict, default: []}
  absent: {description: Files that must not be there., type: list, elements: path, default: []}
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be written.}
  diff_mode: {support: full, description: Shows the content before and after.}
"""

EXAMPLES = r"""
- name: Write the settings of sshd
  host_files:
    folders:
      - path: /etc/ssh/sshd_config.d
    files:
      - path: /etc/ssh/sshd_config.d/00-shop.conf
        content: "{{ lookup('ansible.builtin.template', 'etc/ssh/sshd_config.d/shop.conf.j2') }}"
        mode: "0600"
        validate: sshd -t -f %s
"""

RETURN = r"""
paths: {description: What was changed or would be., type: list, returned: success}
"""

OWNED: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
FOLDER = OWNED | {"mode": {"type": "str", "default": "0755"}}
FILE = OWNED | {
    "mode": {"type": "str", "default": "0644"},
    "content": {"type": "str", "required": True},
    "validate": {"type": "str", "default": ""},
    "secret": {"type": "bool", "default": False},
}
LINK = {"path": {"type": "path", "required": True}, "target": {"type": "path", "required": True}}


class HostFiles:
    """What one call of the module does."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.paths: list[str] = []
        self.diff: list[dict[str, str]] = []
        self.prepared_files: list[str] = []

    def note(self, path: str) -> bool:
        """Note a change; whether it is to be made."""
        if path not in self.paths:
            self.paths.append(path)
        return not self.module.check_mode

    def set_attributes(self, one: dict[str, Any], path: str) -> bool:
        """Bring owner, group and mode to what is wanted; whether one of them differed."""
        wanted = {**one, "path": path, "secontext": [None] * 3, "attributes": None}
        return bool(self.module.set_fs_attributes_if_different(wanted, False, expand=False))

    def attributes(self, one: dict[str, Any]) -> None:
        """The same for what is in place. What check mode has not made has none yet."""
        if os.path.lexists(one["path"]) and self.set_attributes(one, one["path"]):
            self.note(one["path"])

    def remove(self, path: str) -> None:
        """Remove a file or a link; a folder is somebody's mistake."""
        if not os.path.lexists(path):
            return
        if os.path.isdir(path) and not os.path.islink(path):
            self.module.fail_json(msg=f"{path} is a folder. Only files and links are removed here.")
        if self.note(path):
            os.unlink(path)

    def folder(self, one: dict[str, Any]) -> None:
        """Make a folder; those above it that are missing get the mode 0755."""
        path = Path(one["path"])
        if os.path.lexists(path) and not path.is_dir():
            self.module.fail_json(msg=f"{path} is not a folder. Move it away.")
        if not path.is_dir() and self.note(str(path)):
            for missing in [*reversed([up for up in path.parents if not up.exists()]), path]:
                missing.mkdir()
                missing.chmod(0o755)
        self.attributes(one)

    def content(self, one: dict[str, Any]) -> bytes | None:
        """What a file holds now; None where there is none."""
        path = Path(one["path"])
        if path.is_dir():
            self.module.fail_json(msg=f"{path} is a folder, and a file is to be written there. Move it away.")
        return path.read_bytes() if path.is_file() else None

    def prepared(self, one: dict[str, Any]) -> str:
        """Write the new content to a hidden file beside the old one and have it checked; return its name."""
        path = Path(one["path"])
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        self.prepared_files.append(name)
        with os.fdopen(handle, "wb") as file:
            file.write(to_bytes(one["content"]))
        if one["validate"]:
            command = [word.replace("%s", name) for word in shlex.split(one["validate"])]
            code, said, wrong = self.module.run_command(command)
            if code:
                self.forget()
                self.module.fail_json(
                    msg=f"No file was changed. {command[0]} does not accept the content of {path}: {wrong or said}"
                )
        return name

    def forget(self) -> None:
        """Remove what was prepared and did not take its place."""
        for name in self.prepared_files:
            if os.path.lexists(name):
                os.unlink(name)

    def write(self, files: list[dict[str, Any]]) -> None:
        """Write the files that differ, after all of them were checked."""
        different = [one for one in files if self.content(one) != to_bytes(one["content"])]
        # In check mode neither a folder nor a program that checks has to be there yet.
        new = {} if self.module.check_mode else {one["path"]: self.prepared(one) for one in different}
        for one in different:
            self.note(one["path"])
            if not one["secret"]:
                before = to_text(self.content(one) or b"", errors="replace")
                self.diff.append(
                    {
                        "before_header": one["path"],
                        "after_header": one["path"],
                        "before": before,
                        "after": one["content"],
                    }
                )
            if name := new.get(one["path"]):
                # It takes its place with its owner and mode, so nobody reads a secret in between.
                self.set_attributes(one, name)
                os.replace(name, one["path"])
        for one in files:
            self.attributes(one)

    def link(self, one: dict[str, Any]) -> None:
        """Point a link to its target; a file of its name gives way."""
        path = one["path"]
        if os.path.islink(path) and os.readlink(path) == one["target"]:
            return
        if os.path.isdir(path) and not os.path.islink(path):
            self.module.fail_json(msg=f"{path} is a folder, and a link is to be made there. Move it away.")
        if self.note(path):
            beside = f"{path}.new"
            if os.path.lexists(beside):
                os.unlink(beside)
            os.symlink(one["target"], beside)
            os.replace(beside, path)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "list", "elements": "dict", "options": FOLDER, "default": []},
            "files": {"type": "list", "elements": "dict", "options": FILE, "default": []},
            "links": {"type": "list", "elements": "dict", "options": LINK, "default": []},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    work = HostFiles(module)
    try:
        for path in module.params["absent"]:
            work.remove(path)
        for one in module.params["folders"]:
            work.folder(one)
        work.write(module.params["files"])
        for one in module.params["links"]:
            work.link(one)
    except (OSError, UnicodeError) as error:
        module.fail_json(msg=f"{error}. What was changed before: {', '.join(work.paths) or 'nothing'}.")
    finally:
        work.forget()
    module.exit_json(changed=bool(work.paths), paths=work.paths, diff=work.diff)


if __name__ == "__main__":
    main()

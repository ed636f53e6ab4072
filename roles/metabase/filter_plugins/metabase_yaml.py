"""The filter metabase_yaml: YAML in which a key that is there twice is an error."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]


class _Loader(SafeLoader):
    """The safe loader, which otherwise keeps the last of two values in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A map; ConstructorError names the key that is there twice, and where."""
        first: dict[Any, yaml.Node] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            other = first.setdefault((key.tag, str(key.value)), key)
            if other is not key:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key.value!r} is there already in line {other.start_mark.line + 1}",
                    key.start_mark,
                )
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


def metabase_yaml(files: dict[str, str]) -> dict[str, Any]:
    """File name -> content of its YAML; AnsibleFilterError names the file and the line that is wrong."""
    found = {}
    for name, text in files.items():
        try:
            found[str(name)] = yaml.load(str(text), _Loader)  # a safe loader
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise AnsibleFilterError(f"{name}: {error}. Nothing was changed.") from None
    return found


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name -> filter."""
        return {"metabase_yaml": metabase_yaml}

"""The lookup that gives the dynamic inventories what group_vars say, before there are variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader

ROOT = Path(__file__).parents[2]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write files below group_vars, then read variables of a target."""
    lookup_loader.add_directory(str(ROOT / "playbooks/lookup_plugins"))

    def run(files: dict[str, str], *names: str, target: str = "aws", extra: Any = None) -> list[Any]:
        lookup = lookup_loader.get("site_variable", loader=DataLoader())
        functions = type(lookup).run.__globals__
        monkeypatch.setitem(functions, "GROUP_VARS", tmp_path)
        monkeypatch.setitem(functions, "load_extra_vars", lambda _: extra or {})
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        found: list[Any] = lookup.run(list(names), target=target)
        return found

    return run


def test_the_last_word_counts_as_in_a_playbook(read: Any) -> None:
    files = {
        "all/main.yml": "region: us-east-1\nname: shop\n",
        "aws/main.yml": "region: eu-west-1\n",
        "aws/site.yml": "region: eu-central-1\n",
        "local/main.yml": "region: us-west-2\n",
        "aws/site.example.yml.txt": "region: nowhere\n",
        "aws/.site.yml.swp": "region: nowhere\n",
    }
    assert read(files, "region", "name") == ["eu-central-1", "shop"]
    assert read(files, "region", target="local") == ["us-west-2"]
    assert read(files, "region", extra={"region": "ap-south-1"}) == ["ap-south-1"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("'{{ other }}'", "its value is a template"),
        ("{port: '{% if x %}1{% endif %}'}", "its value is a template"),
        (None, "do not set region"),
    ],
)
def test_what_cannot_be_known_yet_is_refused_by_name(read: Any, value: str | None, reason: str) -> None:
    with pytest.raises(AnsibleLookupError, match=reason) as error:
        read({"all/main.yml": f"region: {value}\n" if value else "name: shop\n"}, "region")
    assert "region" in str(error.value)

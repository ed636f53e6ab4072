"""Command lines of README and docs name what there is; test_documented_commands runs them on the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import documents

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.M)) | set(
    re.findall(r"\S+", " ".join(re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.M)))
)
SETTINGS = set(re.findall(r"^([A-Z]+|retailflow_\w+) [:?]?=", MAKEFILE, re.M))
SSH_HOSTS = {"ssh-ec2-postgres", "ssh-ec2-airbyte", "ssh-ec2-dagster-dbt", "ssh-ec2-metabase"}


@pytest.mark.parametrize("typed", documents.commands(), ids=str)
def test_a_documented_command_names_what_there_is(typed: documents.Typed) -> None:
    words = typed.line.split()
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words[0] == "make":
        for word in words[1:]:
            if setting := re.match(r"([A-Z]+|retailflow_\w+)=", word):
                assert setting[1] in SETTINGS, f"{typed.page}: make knows no setting {setting[1]}"
                if setting[1] == "COMMAND":
                    break
            else:
                assert word in TARGETS | SSH_HOSTS, f"{typed.page}: make has no target {word}"
    for path in re.findall(r"(?:^|\s)((?:playbooks|inventory|tests|tools)/[\w./-]+|\w+\.yml)", typed.line):
        assert (ROOT / path).exists() or path == "dbt_sales_staging.py", f"{typed.page}: there is no {path}"


def test_the_list_of_commands_that_run_elsewhere_names_documented_ones() -> None:
    typed = {one.line for one in documents.commands()}
    assert set(documents.ELSEWHERE) - typed <= {"make upgrade"}


def test_the_pages_are_read_as_people_read_them() -> None:
    typed = documents.commands()
    lines = [one.line for one in typed]
    (within,) = [one.within for one in typed if one.line == "make ssh-ec2-postgres" and one.within]
    assert within[0] == "docker ps"
    assert (
        'make ssh-ec2-dagster-dbt COMMAND="docker exec -it dagster-dbt dagster job execute -f dbt_sales_staging.py"'
        in lines
    )
    continued = "make down TARGET=aws retailflow_volumes_remove=true retailflow_backup_remove=true"
    assert continued in lines, "a continued line is one"
    assert not [line for line in lines if "EventBridge" in line], "a drawing is no command"

"""The services of the running site move from ECS to Docker and back, and are adopted by an API that has forgotten them.

    tools/test faults

The site is on ECS before and afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import boto3
import pytest

from .conftest import AWS, NAME, Playbook
from .ecs import CLUSTER, ECS, containers, converge, everything, of_docker, service, volumes
from .site import RULE, Rows, docker, heal, pause_generator, say, schedule

Sql = Callable[[str], str]
DOCKER = ("-e", "retailflow_container_backend=docker")


@pytest.fixture(scope="module")
def rows(sql: Sql) -> Iterator[Rows]:
    """The orders, with the generator paused; every volume is the same afterwards."""
    heal()
    rule = boto3.client("events", **AWS).describe_rule(Name=RULE)
    pause_generator(sql)
    kept = volumes()
    try:
        yield Rows(sql)
    finally:
        schedule(rule)
    assert {name: volumes().get(name) for name in kept} == kept


pytestmark = [pytest.mark.timeout(2400)]


def test_an_api_that_has_forgotten_everything_adopts_what_runs(rows: Rows, playbook: Playbook) -> None:
    before = containers()
    assert set(before) == everything()
    docker("restart", "--time", "1", f"{NAME}-aws")
    say("the emulated API is empty")
    converge(playbook)
    assert containers() == before
    assert service("postgres")["runningCount"] == 1


def test_a_second_run_changes_nothing(rows: Rows, playbook: Playbook) -> None:
    before = containers()
    recap = converge(playbook).rpartition("PLAY RECAP")[2]
    assert containers() == before
    assert set(re.findall(r"changed=(\d+)", recap)) == {"0"}, recap


def test_the_services_move_to_docker_and_back(rows: Rows, sql: Sql, playbook: Playbook) -> None:
    highest = int(rows.source()[3])
    converge(playbook, *DOCKER)
    assert of_docker() == everything() and containers() == {}
    assert ECS.list_services(cluster=CLUSTER)["serviceArns"] == []
    converge(playbook)
    assert set(containers()) == everything() and of_docker() == set()
    pause_generator(sql)  # the proof of `make up` runs it
    assert int(rows.source()[3]) >= highest
    rows.assert_equal()

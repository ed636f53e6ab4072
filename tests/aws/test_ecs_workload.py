"""The role's module for services by ECS against the emulated ECS, whose agent does what it is told while the module waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from ansible.module_utils.container_service import deployment
from ansible.module_utils.container_service.errors import UnstableError, WorkloadError
from ansible.module_utils.container_service.workload import Workload

import ecs_services

from .ecs_support import CLUSTER, REGION, Agent, Cloud, new_cloud

SPEC: dict[str, Any] = {
    "image": "db:1",
    "memory": "512m",
    "ports": ["5432:5432"],
    "volumes": ["db-data:/data"],
    "health": {"test": ["CMD", "true"], "interval": "5s", "retries": 10},
}
PARAMS: dict[str, Any] = {
    "cluster": CLUSTER,
    "name": "db",
    "tags": {"Project": "shop"},
    "placement": "attribute:role == db",
    "spec": SPEC,
    "secrets": {"PASSWORD": "one"},
    "permissions": [],
    "log_group": "/shop/db/db",
    "log_days": 14,
    "wait": 300,
    "drain_timeout": 60,
}


class Site:
    """One host of a cluster, and the module; while the module sleeps, its agent works and the scheduler looks."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.agent: Agent = cloud.host(role="db")
        self.works: Callable[[], None] = self.agent.work
        names = ("ssm", "iam", "logs", "sts")
        self.clients = {name: boto3.client(name, region_name=REGION) for name in names}  # type: ignore[call-overload]
        self.clients["ecs"] = cloud.ecs
        self.most = 0  # tasks that ran at the same time

    def sleep(self, seconds: float) -> None:
        self.works()
        self.most = max(self.most, len(self.agent.running))
        self.cloud.tick(seconds)

    def monotonic(self) -> float:
        return self.cloud.clock.seconds

    def workload(self, **changes: Any) -> Workload:
        return Workload(self.clients, PARAMS | changes, REGION)

    def ensure(self, **changes: Any) -> list[str]:
        one = self.workload(**changes)
        one.ensure()
        return one.actions

    def crash(self) -> None:
        """What an agent does with a program that ends at once."""
        self.agent.poll()
        self.agent.act()
        for arn in self.agent.running:
            self.agent.end(arn)
        self.agent.poll()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with new_cloud() as cloud:
        made = Site(cloud)
        monkeypatch.setattr(deployment, "time", made)
        monkeypatch.setattr(deployment, "PAUSE", 10)
        yield made


BROKEN = {"spec": SPEC | {"image": "db:broken"}}


def test_a_service_comes_up_and_an_update_ends_the_old_task_first(site: Site) -> None:
    assert "make the service db" in site.ensure()
    (first,) = site.agent.running
    assert site.ensure() == []
    assert site.ensure(secrets={"PASSWORD": "two"}) == [
        "change the secret PASSWORD",
        "register the task definition shop-db",
        "replace the task of db",
    ]
    assert site.ensure(spec=SPEC | {"image": "db:2"})[-1] == "replace the task of db"
    (now,) = site.agent.running
    assert now != first and site.most == 1
    assert site.cloud.task(now)["containers"][0]["image"] == "db:2"


def test_a_program_that_ends_at_once_is_told_early_and_a_good_one_helps(site: Site) -> None:
    site.ensure()
    site.works = site.crash
    began = site.monotonic()
    with pytest.raises(
        UnstableError, match="tasks failed one after the other(.|\n)*Essential container in task exited"
    ):
        site.ensure(**BROKEN)
    assert site.monotonic() - began < PARAMS["wait"]
    site.works = site.agent.work
    assert site.ensure(**BROKEN) == ["deploy db again, which was stuck"], "it was the host's fault"
    site.works = site.crash
    with pytest.raises(UnstableError):
        site.ensure(spec=SPEC | {"image": "db:other"})
    site.works = site.agent.work
    assert site.ensure()[-1] == "replace the task of db"
    assert site.most == 1


def test_a_service_that_fits_nowhere_says_so(site: Site) -> None:
    with pytest.raises(UnstableError, match="was unable to place a task"):
        site.ensure(spec=SPEC | {"memory": "64g"})


def test_the_status_reads_services_and_agents(site: Site) -> None:
    site.ensure(spec=SPEC | {"image": "registry.example:5000/shop/db:1@sha256:abc"})
    (service,) = ecs_services.services_of(site.cloud.ecs, CLUSTER)
    told = {name: service[name] for name in ("name", "role", "desired", "running", "tag")}
    assert told == {"name": "db", "role": "db", "desired": 1, "running": 1, "tag": "1"}
    assert (service["rollout"], service["event"]) == (
        "COMPLETED",
        "(service db) has reached a steady state.",
    )
    (agent,) = ecs_services.agents_of(site.cloud.ecs, CLUSTER)
    assert agent["role"] == "db" and agent["connected"] is True
    site.cloud.tick(60)
    assert ecs_services.agents_of(site.cloud.ecs, CLUSTER)[0]["connected"] is False


@pytest.mark.parametrize(
    ("image", "tag"),
    [("a:1", "1"), ("r:5000/a", "latest"), ("r:5000/a@sha256:0123456789abcdef", "sha256:0123456789ab")],
)
def test_an_image_is_told_by_its_tag(image: str, tag: str) -> None:
    assert ecs_services.tag_of(image) == tag


def test_a_stopped_service_has_no_task_until_it_is_started(site: Site) -> None:
    site.ensure()
    site.workload().stop()
    assert site.agent.running == [] and site.workload().tasks("RUNNING") == []
    assert site.ensure() == ["replace the task of db"]
    site.workload().remove()
    assert site.agent.running == []
    again = site.workload()
    again.remove()
    assert again.actions == []
    assert "make the service db" in site.ensure()


def test_a_task_that_hangs_keeps_its_volume(site: Site) -> None:
    site.ensure()
    (arn,) = site.agent.running
    site.agent.hung.add(arn)
    with pytest.raises(WorkloadError, match="has not ended after 60 s"):
        site.workload().remove()
    with pytest.raises(UnstableError):
        site.ensure(spec=SPEC | {"image": "db:2"})
    assert site.agent.running == [arn]
    site.agent.hung.clear()
    site.ensure(spec=SPEC | {"image": "db:2"})
    assert site.most == 1


def test_an_agent_that_is_away_is_named(site: Site) -> None:
    site.ensure()
    site.works = lambda: None
    site.cloud.tick(60)
    with pytest.raises(
        UnstableError, match="agent of the instance that is attribute:role == db is not connected"
    ):
        site.ensure(spec=SPEC | {"image": "db:2"})


def test_an_api_that_has_forgotten_everything_adopts_what_runs(site: Site) -> None:
    site.ensure()
    before = site.agent.running
    site.cloud.forget()
    site.agent.register()
    site.agent.poll()
    assert "make the service db" in site.ensure()
    assert site.agent.running == before and site.most <= 1
    assert site.ensure() == []


def test_a_task_is_only_defined_and_others_run_it_on_the_hosts_that_take_it(site: Site) -> None:
    """What the role asks for Dagster's runs, and what dagster-aws asks then."""
    site.ensure()
    changes = {"name": "run", "spec": SPEC | {"ports": [], "health": {}}, "log_group": "/shop/db/run"}
    made = site.workload(**changes, placement="attribute:runs == true", wait=0).define()
    takers = [site.cloud.host(role=name, runs="true") for name in ("web", "shop")]
    for number in range(4):
        answer = site.cloud.ecs.run_task(
            cluster=CLUSTER,
            taskDefinition=made.definition,
            launchType="EC2",
            clientToken=f"run-{number}",
            placementStrategy=[{"type": "spread", "field": "instanceId"}],
            overrides={"containerOverrides": [{"name": "run", "command": ["dagster", "api"]}]},
            tags=[{"key": "dagster/run_id", "value": str(number)}],
        )
        assert answer["failures"] == []
    for one in takers:
        one.work()
    assert [len(one.running) for one in takers] == [2, 2] and len(site.agent.running) == 1

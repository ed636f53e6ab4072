"""Two tasks of a service that may have one at most never run together, whatever happens; and one runs again in the end."""

from __future__ import annotations

import contextlib
from typing import Any

from botocore.exceptions import ClientError
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from .ecs_support import CLUSTER, Agent, Cloud, new_cloud

PINNED = [{"type": "memberOf", "expression": "attribute:role == db"}]
BREAKER = {"maximumPercent": 100, "minimumHealthyPercent": 0} | {
    "deploymentCircuitBreaker": {"enable": True, "rollback": True}
}
#: What may happen: a method of the machine and its options. More often what lets the others have an effect.
EVENTS: list[tuple[str, dict[str, Any]]] = [
    *[("work", {})] * 6,
    *[("wait", {"seconds": seconds}) for seconds in (1, 45, 45, 2000)],
    *[
        ("begin", {"index": index, "what": what})
        for index in (0, 1)
        for what in ("poll", "act", "lose answer")
    ],
    *[("begin", {"index": index, "what": "poll"}) for index in (0, 1)],
    *[
        ("restart_agent", {"index": index, "is_away": is_away, "knows_entry": knows_entry})
        for index in (0, 1)
        for is_away, knows_entry in ((True, True), (False, True), (False, False))
    ],
    ("fail", {}),
    *[("hang", {"is_hung": is_hung}) for is_hung in (True, True, False)],
    *[
        ("change", {"what": what})
        for what in ("new image", "new image", "again", "none", "one", "stop task", "delete", "make", "make")
    ],
    *[("forget", {"is_made": is_made}) for is_made in (True, False)],
]


class OneDatabase(RuleBasedStateMachine):
    """Two hosts, their agents, and a service; an API that forgets only where the service is pinned to its host.

    An API that forgot everything cannot know of a host that does not report. So a service with a volume is pinned to the host
    that has it, as ours are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open = contextlib.ExitStack()
        self.cloud: Cloud = self.open.enter_context(new_cloud())
        self.agents: list[Agent] = [self.cloud.host(role="db"), self.cloud.host(role="web")]
        self.away = [False, False]
        self.is_pinned, self.image = False, 0

    @initialize(is_pinned=st.booleans())
    def make(self, is_pinned: bool) -> None:
        self.is_pinned = is_pinned
        self._serve()
        self.work()
        self.work()

    def _serve(self) -> None:
        self.cloud.define(image=f"db:{self.image}")
        options: dict[str, Any] = {"placementConstraints": PINNED} if self.is_pinned else {}
        with contextlib.suppress(ClientError):  # it is there
            self.cloud.serve(deploymentConfiguration=BREAKER, **options)

    def wait(self, seconds: int) -> None:
        """Time passes, then the scheduler does what is to be done."""
        self.cloud.tick(seconds)

    def work(self) -> None:
        """The hosts do all that they are told, as far as their agents are there."""
        for index, agent in enumerate(self.agents):
            if not self.away[index]:
                self._poll(agent)
                agent.act()
                self._poll(agent)

    def _poll(self, agent: Agent) -> None:
        try:
            agent.poll()
        except ClientError:  # it is not known (any more)
            with contextlib.suppress(ClientError):
                agent.register()
                agent.poll()

    def begin(self, index: int, what: str) -> None:
        """A host does only a part: it hears what to do, it does that and tells nobody, or an answer does not reach it."""
        agent = self.agents[index]
        if what == "act":
            agent.act()
        elif what == "poll" and not self.away[index]:
            self._poll(agent)
        elif what == "lose answer":
            with contextlib.suppress(ClientError):
                reported = [one.report() for one in agent.tasks.values()]
                agent.call("Poll", revision=agent.revision, waitSeconds=0, reported=reported)

    def restart_agent(self, index: int, is_away: bool, knows_entry: bool) -> None:
        """An agent is killed, or starts again with its entry or without; its containers go on."""
        agent, self.away[index] = self.agents[index], is_away
        if not is_away:
            agent.revision = 0
            with contextlib.suppress(ClientError):
                agent.register(**({"containerInstanceArn": agent.arn} if knows_entry else {}))

    def fail(self) -> None:
        """What runs dies, what is to start does not."""
        for agent in self.agents:
            for arn, task in agent.tasks.items():
                if task.status != "STOPPED":
                    agent.end(arn, 137, "" if task.status == "RUNNING" else "CannotPullContainerError: no")

    def hang(self, is_hung: bool) -> None:
        """What runs does not end although it is told to, or does so from now on."""
        for agent in self.agents:
            agent.hung = set(agent.running) if is_hung else set()

    def change(self, what: str) -> None:
        """A person changes the service, which may not be there."""
        with contextlib.suppress(ClientError):
            if what == "new image":
                self.image += 1
                self.cloud.define(image=f"db:{self.image}")
                self.cloud.update(taskDefinition="db")
            elif what == "again":
                self.cloud.update(forceNewDeployment=True)
            elif what in ("none", "one"):
                self.cloud.update(desiredCount=int(what == "one"))
            elif what == "stop task":
                for arn in self.cloud.arns():
                    self.cloud.ecs.stop_task(cluster=CLUSTER, task=arn)
            elif what == "delete":
                self.cloud.ecs.delete_service(cluster=CLUSTER, service="db", force=True)
            else:
                self._serve()

    def forget(self, is_made: bool) -> None:
        """The API restarts and is empty; the service is made again at once or later."""
        if self.is_pinned:
            self.cloud.forget()
            if is_made:
                self._serve()

    @rule(event=st.sampled_from(EVENTS))
    def happen(self, event: tuple[str, dict[str, Any]]) -> None:
        """One rule for all: of many rules Hypothesis tries few together, and here it takes several to go wrong."""
        name, options = event
        getattr(self, name)(**options)

    @invariant()
    def one_at_most(self) -> None:
        assert sum(len(agent.running) for agent in self.agents) <= 1

    def teardown(self) -> None:
        """When everybody is back and nothing hangs, one task runs."""
        try:
            for agent in self.agents:
                agent.hung.clear()
            for turn in range(8):
                for agent in self.agents:
                    self._poll(agent)
                    agent.act()
                    self._poll(agent)
                if turn < 2:
                    self._serve()
                    with contextlib.suppress(ClientError):
                        self.cloud.update(desiredCount=1)
                self.one_at_most()
                self.cloud.tick(2000)
            assert sum(len(agent.running) for agent in self.agents) == 1
        finally:
            self.open.close()


TestNeverTwo = OneDatabase.TestCase
# A failure is shown as it was found: making it short takes minutes.
TestNeverTwo.settings = settings(
    max_examples=80, stateful_step_count=20, phases=[Phase.reuse, Phase.generate], print_blob=True
)

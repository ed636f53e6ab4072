"""What container agents call.

Amazon's agent holds two websockets to ECS, from which it hears what to do and over which it sends measures. In their place stand
two *emulated* operations, `Poll` and `StartTelemetrySession`, named after the permissions that an agent needs for them.
"""

from __future__ import annotations

import json
import time
from typing import Any

from moto.core.responses import ActionResult, BaseResponse
from moto.ecs.responses import EC2ContainerServiceResponse

from . import reports, scheduler, store, timing, words
from .instances import Instance
from .store import CHANGED, LOCK, WAKE

PRIVATE = ("Poll", "StartTelemetrySession")
_parse = BaseResponse.parse_parameters
_ACKNOWLEDGED = "ACK"


def _answer(response: Any, body: dict[str, Any]) -> Any:
    """An answer that ECS's public model has no shape for."""
    response.response_headers["Content-Type"] = "application/x-amz-json-1.1"
    return json.dumps(body), {}


class AgentApi(EC2ContainerServiceResponse):
    """Operations of agents; `install()` copies them into moto's class."""

    def parse_parameters(self, request: Any) -> None:
        """Read the parameters; those of the emulated operations are in no model."""
        if self._get_action() not in PRIVATE:
            _parse(self, request)
            return
        try:
            found = json.loads(request.data or b"{}")
        except ValueError:
            found = None
        self.params = found if isinstance(found, dict) else {}

    def discover_poll_endpoint(self) -> ActionResult:
        """Both sessions go to this API."""
        here = f"{self.parsed_url.scheme}://{self.parsed_url.netloc}"
        return ActionResult({"endpoint": here, "telemetryEndpoint": here})

    def register_container_instance(self) -> ActionResult:
        """Make the entry of an instance, or renew it for an agent that knows its entry."""
        raw = json.loads(self.body or "{}")
        document = json.loads(str(raw.get("instanceIdentityDocument") or "{}"))
        backend = self.ecs_backend
        with LOCK:
            cluster = store.cluster_of(backend, raw.get("cluster"))
            known = raw.get("containerInstanceArn")
            if known:
                instance = store.instance_of(backend, cluster.name, known)
                if instance.status == "INACTIVE":
                    raise words.unknown_instance(known)
            else:
                instance = self._entry(cluster.name, document, raw.get("clientToken"))
            instance.update(raw)
            if raw.get("tags"):
                instance.tags = list(raw["tags"])
            found = instance.describe(store.live_on(backend, instance), with_tags=True)
            scheduler.tell(backend)
        return ActionResult({"containerInstance": found})

    def _entry(self, cluster: str, document: dict[str, Any], token: str | None) -> Instance:
        backend = self.ecs_backend
        same = [
            one
            for one in store.instances(backend, cluster)
            if token is not None and one.client_token == token
        ]
        if same:
            return same[0]
        if not document.get("instanceId"):
            raise words.client("Invalid identity document.")
        instance = Instance(str(document["instanceId"]), cluster, backend)
        instance.client_token = token
        backend.container_instances.setdefault(cluster, {})[instance.id] = instance
        return instance

    def _polling(self) -> Instance:
        cluster = store.cluster_of(self.ecs_backend, self.params.get("cluster"))
        instance = store.instance_of(
            self.ecs_backend, cluster.name, str(self.params.get("containerInstance"))
        )
        if instance.status == "INACTIVE":
            raise words.inactive_instance()
        return instance

    def poll(self) -> Any:
        """*Emulated*: take what an agent has and answer with what it is to have, at once where that changed.

        Parameters: cluster, containerInstance, `revision` of the wanted state that the agent knows (0 at first), waitSeconds
        (at most 20), `reported`: all its tasks. Answer: `revision`, and `tasks`, always the whole wanted state.
        """
        backend, params = self.ecs_backend, self.params
        revision = int(params.get("revision") or 0)
        longest = min(float(params.get("waitSeconds") or 0), timing.LONGEST_POLL_SECONDS)
        deadline = time.monotonic() + longest
        with LOCK:
            instance = self._polling()
            instance.open_polls += 1
            try:
                reports.take(backend, instance, params.get("reported") or [], revision, timing.CLOCK.now())
                scheduler.run_pass(backend)
                while instance.revision == revision and (left := deadline - time.monotonic()) > 0:
                    CHANGED.wait(left)
                    if instance.status == "INACTIVE":
                        raise words.inactive_instance()
            finally:
                instance.open_polls -= 1
                instance.last_poll = timing.CLOCK.now()
            tasks = reports.wanted(backend, instance)
            reports.mark_given(tasks, instance.revision)
            return _answer(self, {"revision": instance.revision, "tasks": [one.wanted() for one in tasks]})

    def start_telemetry_session(self) -> Any:
        """*Emulated*: take the health of tasks. Parameters: cluster, containerInstance, `health` of containers by task."""
        with LOCK:
            reports.health(self.ecs_backend, self._polling(), self.params.get("health") or [])
        WAKE.set()
        return _answer(self, {})

    def submit_task_state_change(self) -> ActionResult:
        """Take the state of a task."""
        return self._submitted(
            {"lastStatus": self._get_param("status"), "reason": self._get_param("reason")},
            list(self._get_param("containers") or []),
        )

    def submit_container_state_change(self) -> ActionResult:
        """Take the state of one container; its task's own state comes by SubmitTaskStateChange."""
        names = ("containerName", "runtimeId", "status", "exitCode", "reason", "networkBindings")
        return self._submitted({}, [{name: self._get_param(name) for name in names}])

    def submit_attachment_state_changes(self) -> ActionResult:
        """There are no attachments here."""
        return ActionResult({"acknowledgment": _ACKNOWLEDGED})

    def _submitted(self, report: dict[str, Any], containers: list[dict[str, Any]]) -> ActionResult:
        backend = self.ecs_backend
        with LOCK:
            cluster = store.cluster_of(backend, self._get_param("cluster"))
            task = store.find_task(backend, cluster.name, str(self._get_param("task")))
            if task is not None:
                task.take(report | {"containers": containers}, timing.CLOCK.now(), is_whole=False)
                scheduler.run_pass(backend)
        return ActionResult({"acknowledgment": _ACKNOWLEDGED})

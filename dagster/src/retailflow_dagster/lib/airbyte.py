"""Start one Airbyte sync and wait for it, found by the connection's name.

dagster-airbyte's own asset loader asks the API when the definitions load, and refuses to start while
another job of the connection runs. Here the API is asked only when a run needs it, and a job under way is
waited for first: what it read may be older than the rows this run is for.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
import requests
from dagster_airbyte.resources import AirbyteClient
from dagster_airbyte.translator import AirbyteJobStatusType
from dagster_airbyte.types import AirbyteOutput

#: Types of jobs after which there is something to transform; `reset` and `clear` only remove.
BRING_ROWS = {"sync", "refresh"}
UNDER_WAY = {AirbyteJobStatusType.PENDING, AirbyteJobStatusType.RUNNING, AirbyteJobStatusType.INCOMPLETE}


@dataclass(frozen=True)
class SyncResult:
    """What a finished sync moved; rows and bytes as Airbyte counts them, seconds from start to success."""

    job_id: int
    rows: int
    bytes: int
    seconds: float
    waited_seconds: float


@dataclass(frozen=True)
class Job:
    """A job that Airbyte knows of; `started` and `ended` in seconds since 1970, 0 where that is not known.

    Ids begin at 1 again when Airbyte is installed again: only together with its times is an id that of one job.
    """

    id: int
    succeeded: bool
    under_way: bool
    ended: float
    started: float = 0.0
    brings_rows: bool = True


def ignore(job_id: int) -> None:
    """For those who need not know which job was started."""


class Client(AirbyteClient):
    """AirbyteClient with a few more questions; it reports the id of the job that it started."""

    started: Callable[[int], None] = ignore
    #: Of the authority that has signed the server's certificate, where no public one has.
    authority_file: str = ""

    def _get_session(self, include_additional_request_headers: bool) -> requests.Session:
        session = super()._get_session(include_additional_request_headers)
        if self.authority_file:
            session.verify = self.authority_file
            session.trust_env = False  # REQUESTS_CA_BUNDLE would go before it
        return session

    def start_sync_job(self, connection_id: str) -> Mapping[str, Any]:
        """Starts a sync and passes its id on at once."""
        job = super().start_sync_job(connection_id)
        self.started(int(job["jobId"]))
        return job

    def only_workspace_id(self) -> str:
        """The id of the one workspace. Raises Failure when there is none or a choice."""
        found = self._paginated_request(method="GET", url=f"{self.rest_api_base_url}/workspaces", params={})
        if len(found) != 1:
            raise dg.Failure(
                f"Airbyte at {self.rest_api_base_url} has {len(found)} workspaces: set AIRBYTE_WORKSPACE_ID"
                " to the one that holds the connection.",
                allow_retries=False,
            )
        return str(found[0]["workspaceId"])

    def latest_jobs(self, connection_id: str) -> list[Job]:
        """The connection's latest jobs of every type, newest first."""
        latest = self._single_request(
            method="GET",
            url=f"{self.rest_api_base_url}/jobs",
            params={"connectionId": connection_id, "orderBy": "createdAt|DESC", "limit": 20},
        )
        jobs = map(_job, latest["data"])
        return sorted(jobs, key=lambda job: (job.under_way, job.ended, job.id), reverse=True)

    def latest_syncs(self, connection_id: str) -> list[Job]:
        """Of the latest jobs those that bring rows, newest first."""
        return [job for job in self.latest_jobs(connection_id) if job.brings_rows]

    def jobs_under_way(self, connection_id: str) -> list[int]:
        """Ids of the connection's unfinished jobs of every type, which are among its latest ones."""
        return [job.id for job in self.latest_jobs(connection_id) if job.under_way]


class AirbyteSync(dg.ConfigurableResource[Any]):
    """One Airbyte connection, by name. Waiting for another's job and for our own each end after
    `sync_timeout` s.
    """

    url: str
    authority_file: str = ""
    client_id: str
    client_secret: str
    workspace_id: str = ""
    connection_name: str
    sync_timeout: float = 1800
    poll_interval: float = 2

    def client(self, started: Callable[[int], None] = ignore, patient: bool = True) -> Client:
        """A client for the workspace; asks for its id only when none is configured. One that is not `patient`
        asks each question once, for 10 s.
        """
        base = self.url.rstrip("/")
        options: dict[str, Any] = {
            "rest_api_base_url": f"{base}/api/public/v1",
            "configuration_api_base_url": f"{base}/api/v1",
            "authority_file": self.authority_file,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "request_max_retries": 3 if patient else 0,
            "request_retry_delay": 1.0,
            "request_timeout": 30 if patient else 10,
            "started": started,
            "poll_interval": self.poll_interval,
            "poll_timeout": self.sync_timeout,
        }
        workspace_id = self.workspace_id or Client(workspace_id="", **options).only_workspace_id()
        return Client(workspace_id=workspace_id, **options)

    def connection_id(self, client: AirbyteClient) -> str:
        """The id behind the name. Raises Failure when no connection or several bear it."""
        connections = client.get_connections()
        ids = [str(c["connectionId"]) for c in connections if c["name"] == self.connection_name]
        if len(ids) != 1:
            names = ", ".join(sorted(str(c["name"]) for c in connections)) or "none"
            raise dg.Failure(
                f"{len(ids)} Airbyte connections are named {self.connection_name!r} (there are: {names})."
                " Create it with the wiring playbook, or set AIRBYTE_CONNECTION_NAME.",
                allow_retries=False,
            )
        return ids[0]

    def latest_syncs(self) -> list[Job]:
        """The connection's latest syncs, newest first. Raises Failure soon where Airbyte does not answer."""
        client = self.client(patient=False)
        return client.latest_syncs(self.connection_id(client))

    def run(self, started: Callable[[int], None] = ignore) -> SyncResult:
        """Waits for a job under way, starts ours, says its id, waits for it.

        Raises Failure when the sync fails, is cancelled, or has not finished after `sync_timeout` seconds;
        a sync of ours that still runs then is cancelled.
        """
        client = self.client(started)
        connection_id = self.connection_id(client)
        began = time.monotonic()
        deadline = began + self.sync_timeout
        while True:
            self._wait_until_idle(client, connection_id, deadline)
            ours = time.monotonic()
            try:
                output = client.sync_and_poll(connection_id)
            except dg.Failure:
                if client.jobs_under_way(connection_id) and time.monotonic() < deadline:
                    continue  # another job came in between (Airbyte answers 409): let it finish, start again
                raise
            return _result(output, seconds=time.monotonic() - ours, waited=ours - began)

    def _wait_until_idle(self, client: Client, connection_id: str, deadline: float) -> None:
        while jobs := client.jobs_under_way(connection_id):
            if time.monotonic() >= deadline:
                raise dg.Failure(
                    f"Airbyte job {jobs[0]} of connection {self.connection_name!r} was still running after"
                    f" {self.sync_timeout:.0f} s. Look at its log in Airbyte, or cancel it there."
                )
            dg.get_dagster_logger().info("Waiting for Airbyte job %s, started elsewhere.", jobs[0])
            time.sleep(self.poll_interval)


def _result(output: AirbyteOutput, seconds: float, waited: float) -> SyncResult:
    job: Mapping[str, Any] = output.job_details
    return SyncResult(
        job_id=int(job["jobId"]),
        rows=int(job.get("rowsSynced") or 0),
        bytes=int(job.get("bytesSynced") or 0),
        seconds=seconds,
        waited_seconds=waited,
    )


def _job(found: Mapping[str, Any]) -> Job:
    return Job(
        id=int(found["jobId"]),
        succeeded=found["status"] == AirbyteJobStatusType.SUCCEEDED,
        under_way=found["status"] in UNDER_WAY,
        ended=_seconds(found.get("lastUpdatedAt")),
        started=_seconds(found.get("startTime")),
        brings_rows=found.get("jobType", "sync") in BRING_ROWS,
    )


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0

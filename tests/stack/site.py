"""The running site for tests that break it: what `make status` says, cycles, crashes, and whether rows are equal."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import snowflake.connector

from .conftest import ADMINISTRATOR, AUTHORITY, AWS, NAME, PORTS, PREFIX, ROOT, SECRETS, wait_for

RULE = f"{NAME}-generator-schedule"
FUNCTION = f"{NAME}-generator"
NEVER = "rate(365 days)"
# A failed event is tried again after one minute, and after two more ("How Lambda handles errors and retries with asynchronous
# invocation" in the developer guide).
LONGEST_RETRY_SECONDS = 120
QUIET_SECONDS = 480  # for an event's three tries, and until it is certain that no other one follows
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
STATUS_SECONDS = 30  # within which `make status` names a fault
CYCLE_SECONDS = 300
ALONE_SECONDS = 240  # that a site gets to come back by itself, before one `make up`
MAKE_UP_SECONDS = 900
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]
# Moments at which Ctrl-C is pressed: tasks as `make up` prints them, one or more in each step of site.yml.
MOMENTS = (
    "Reconcile network and hosts",
    "Provision | Turn the instances into hosts",
    "Configure | Install the Docker engine",
    "Wire | Deploy and schedule the generator",
    "Verify | Run one cycle",
)

LAUNCH = """mutation ($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } } }"""
RUN = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def say(text: str) -> None:
    """Show how far a long test is; the stage `faults` runs pytest without capture."""
    print(f"    {time.strftime('%H:%M:%S')} {text}", flush=True)


def docker(*command: str) -> str:
    """Run a command of this machine's engine and return what it prints."""
    done = subprocess.run(["docker", *command], check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.strip()


def warehouse(name: str) -> snowflake.connector.SnowflakeConnection:
    """A session of one of the site's users, with its key: airbyte, dbt, metabase or observer."""
    roles = {"airbyte": "LOADER", "dbt": "TRANSFORMER", "metabase": "REPORTER", "observer": "OBSERVER"}
    return snowflake.connector.connect(
        account="retailflow",
        user=f"{PREFIX}{name.upper()}",
        role=f"{PREFIX}{roles[name]}",
        warehouse=f"{PREFIX}WAREHOUSE",
        private_key_file=str(SECRETS / f"snowflake_{name}.p8"),
        host="127.0.0.1",
        port=PORTS["snowflake"],
        disable_ocsp_checks=True,
        login_timeout=30,
        network_timeout=30,
    )


def trust() -> ssl.SSLContext:
    """The site's own authority has signed the certificates of the pages."""
    return ssl.create_default_context(cafile=str(AUTHORITY))


def pages_login() -> str:
    """What the fronts ask for before pages without a login of their own."""
    password = (SECRETS / "pages").read_text().strip()
    return "Basic " + base64.b64encode(f"{NAME}:{password}".encode()).decode()


def graphql(query: str, **variables: Any) -> Any:
    """Ask Dagster's webserver; OSError while it is down."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"content-type": "application/json", "authorization": pages_login()}
    request = urllib.request.Request(f"https://127.0.0.1:{PORTS['dagster']}/graphql", body, headers)
    with urllib.request.urlopen(request, timeout=60, context=trust()) as response:
        return json.load(response)["data"]


def launch(job: str) -> str:
    """Start a run and return its id."""
    selector = {
        "repositoryLocationName": "retailflow",
        "repositoryName": "__repository__",
        "jobName": job,
    }
    answer = graphql(LAUNCH, p={"selector": selector, "runConfigData": {}})["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run_id: str = answer["run"]["runId"]
    return run_id


def state(run_id: str) -> str:
    """The state of a run, or an empty text while Dagster does not answer."""
    with contextlib.suppress(OSError, ValueError):
        return str(graphql(RUN, id=run_id)["runOrError"].get("status", ""))
    return ""


def ended(run_id: str, seconds: float = CYCLE_SECONDS) -> str:
    """Wait until a run has ended and return its state."""
    deadline = time.monotonic() + seconds
    while (found := state(run_id)) not in ENDED:
        assert time.monotonic() < deadline, (
            f"run {run_id} is {found or 'not to be seen'} after {seconds:.0f} s"
        )
        time.sleep(1)
    return found


@dataclass(frozen=True)
class Status:
    """What `make status` said, and after how long."""

    well: bool
    seconds: float
    found: dict[str, Any]
    text: str

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong, and what to do, by part."""
        return {one["part"]: f"{one['what']}; {one['todo']}" for one in self.found.get("problems", [])}

    def names(self, word: str) -> bool:
        """Whether a problem names a part."""
        return any(word in part for part in self.problems)


def status() -> Status:
    """Run `make status`; it must answer whatever is down."""
    began = time.monotonic()
    done = subprocess.run(
        ["make", "--no-print-directory", "status", "FORMAT=json"],
        cwd=ROOT, capture_output=True, text=True, timeout=3 * STATUS_SECONDS, check=False,
    )  # fmt: skip
    took = time.monotonic() - began
    found = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    assert not found or found["well"] == (done.returncode == 0), "the exit code contradicts the answer"
    return Status(done.returncode == 0, took, found, done.stdout + done.stderr)


def make(*arguments: str, seconds: float = MAKE_UP_SECONDS) -> str:
    """Run make, which must succeed, and return what it printed."""
    began = time.monotonic()
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    say(f"make {' '.join(arguments)}: exit code {done.returncode} after {time.monotonic() - began:.0f} s")
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    return done.stdout


def seen(word: str) -> Status:
    """Assert that `make status` fails and names a part within its time."""
    deadline = time.monotonic() + STATUS_SECONDS
    while True:
        found = status()
        if not found.well and found.names(word):
            say(f"make status named {word!r} after {found.seconds:.0f} s: {found.problems}")
            assert found.seconds <= STATUS_SECONDS, f"make status took {found.seconds:.0f} s"
            return found
        assert time.monotonic() < deadline, f"{word!r} is not among {found.problems or found.text[-3000:]}"


@dataclass(frozen=True)
class Crash:
    """A container whose process 1 was killed, as a fault of its own would end it."""

    name: str
    started: str

    @property
    def back(self) -> bool:
        """Whether it runs again since then."""
        running, started = docker(
            "inspect", "--format", "{{.State.Running}} {{.State.StartedAt}}", self.name
        ).split()
        return running == "true" and started != self.started


def crash(name: str) -> Crash:
    """Kill process 1 of a container from outside. Docker takes `docker kill` for a stop, and this for a crash."""
    pid, started = docker("inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}}", name).split()
    subprocess.run([*SUDO, "kill", "-KILL", pid], check=True, capture_output=True)
    say(f"{name}: process 1 ({pid}) was killed")
    return Crash(name, started)


def noticed(crashes: list[Crash], words: list[str]) -> None:
    """Assert that `make status` names each crashed part within its time, or that the part runs again by then."""
    deadline = time.monotonic() + STATUS_SECONDS
    open_ = dict(zip((one.name for one in crashes), zip(crashes, words, strict=True), strict=True))
    while open_:
        found = status()
        assert found.seconds <= STATUS_SECONDS, f"make status took {found.seconds:.0f} s"
        for name, (one, word) in list(open_.items()):
            if found.names(word):
                say(f"{name}: named by make status")
                del open_[name]
            elif one.back:
                say(f"{name}: runs again by itself before make status named it")
                del open_[name]
        assert not open_ or time.monotonic() < deadline, (
            f"{sorted(open_)} neither runs nor is named: {found.text[-3000:]}"
        )


def heal(crashes: list[Crash] | None = None) -> str:
    """Wait until the site is well by itself, else run `make up` once; return how it healed.

    The containers of `crashes` must come back alone, whatever the rest needs. A cycle is started whenever nothing but
    the pipeline is ill, as the schedule would do minutes later.
    """
    for one in crashes or []:
        wait_for(lambda one=one: one.back, 60, f"{one.name} comes back by itself")  # type: ignore[misc]
    deadline = time.monotonic() + ALONE_SECONDS
    while time.monotonic() < deadline:
        found = status()
        if found.well or set(found.problems) == {"pipeline"}:
            with contextlib.suppress(OSError, AssertionError, ValueError, TypeError, KeyError):
                if ended(launch("sales_job")) == "SUCCESS" and status().well:
                    say("healed by itself")
                    return "by itself"
        else:
            say(f"not well yet: {found.problems or found.text[-300:]}")
        time.sleep(3)
    make("up")
    return "by make up"


class Rows:
    """Orders in PostgreSQL and in the warehouse, while the generator is paused."""

    def __init__(self, sql: Callable[[str], str]) -> None:
        self._sql = sql

    def source(self) -> tuple[str, ...]:
        """Number of orders, revenue, discount, highest id, and a sum over every column of every order."""
        return tuple(
            self._sql(
                "select count(*), sum(quantity * price), sum(quantity * discount), max(order_id),"
                " sum(hashtextextended(sales::text, 0)::numeric) from sales"
            ).split("|")
        )

    def assert_equal(self, cycle: bool = True) -> None:
        """Run a cycle where none has run since, then compare PostgreSQL, RAW and the mart; no order may stand twice."""
        if cycle:
            assert ended(launch("sales_job")) == "SUCCESS", status().text[-3000:]
        orders, revenue, discount = self.source()[:3]
        assert self._sql("select count(*) - count(distinct order_id) from sales") == "0"
        found = self._warehouse()
        for level in ("raw", "mart"):
            held = tuple(str(found[f"{level}_{what}"]) for what in ("orders", "revenue", "discount"))
            assert held == (orders, revenue, discount), (
                f"{level} holds {held}, PostgreSQL {orders, revenue, discount}"
            )

    @staticmethod
    def _warehouse() -> dict[str, Any]:
        """What `make status` reads in the warehouse, whose first answers after a crash may be late."""

        def answer() -> dict[str, Any]:
            found: dict[str, Any] = status().found["warehouse"]
            return found if "raw_orders" in found else {}

        read: dict[str, Any] = wait_for(answer, 120, "the warehouse answers")
        return read


def schedule(rule: dict[str, Any]) -> None:
    """Write a rule as `describe_rule` returned it; its targets stay."""
    kept = {key: rule[key] for key in ("Name", "Description", "ScheduleExpression", "State") if key in rule}
    boto3.client("events", **AWS).put_rule(**kept)


def may_be_tried_again() -> bool:
    """Whether an event may wait for its next try: an invocation failed so lately that the try is still to come."""
    now = datetime.now(UTC)
    found = boto3.client("cloudwatch", **ADMINISTRATOR).get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Dimensions=[{"Name": "FunctionName", "Value": FUNCTION}],
        StartTime=now - timedelta(seconds=LONGEST_RETRY_SECONDS + 60),
        EndTime=now + timedelta(seconds=60),
        Period=60,
        Statistics=["Sum"],
    )
    return any(point["Sum"] for point in found["Datapoints"])


def pause_generator(sql: Callable[[str], str]) -> None:
    """Pause the generator's schedule and wait until no batch is under way, so that rows stay as they are."""
    events = boto3.client("events", **AWS)
    schedule(events.describe_rule(Name=RULE) | {"ScheduleExpression": NEVER})
    looks = 0

    def nothing_under_way() -> bool:
        nonlocal looks
        busy = sql("select 1 from pg_stat_activity where usename = 'generator' limit 1")
        looks = 0 if busy or may_be_tried_again() else looks + 1
        return looks == 3  # an invocation needs a second until there is something to see

    wait_for(nothing_under_way, QUIET_SECONDS, "the generator's last batch has ended")


def dockerd() -> int:
    """The process of this machine's engine; those inside hosts belong to containers."""
    for pid in subprocess.run(
        ["pgrep", "-x", "dockerd"], check=True, capture_output=True, text=True
    ).stdout.split():
        mine, other = os.readlink("/proc/self/ns/pid"), _namespace(pid)
        if mine == other:
            return int(pid)
    raise AssertionError("this machine runs no Docker engine of its own")


def _namespace(pid: str) -> str:
    done = subprocess.run(
        [*SUDO, "readlink", f"/proc/{pid}/ns/pid"], check=False, capture_output=True, text=True
    )
    return done.stdout.strip()


def engine_is_ours() -> bool:
    """Whether RetailFlow started or installed this machine's engine: any other one serves other people too."""
    packages = ROOT / ".state/machine/packages"
    installed = packages.exists() and "docker.io" in packages.read_text().split()
    return installed or (ROOT / ".state/machine/dockerd.pid").exists()


@contextlib.contextmanager
def engine_down() -> Iterator[None]:
    """Stop this machine's Docker engine for a while, and start it as it ran before."""
    pid = dockerd()
    managed = (
        subprocess.run(
            ["systemctl", "is-active", "--quiet", "docker"], check=False, capture_output=True
        ).returncode
        == 0
        if os.path.isdir("/run/systemd/system")
        else False
    )
    done = subprocess.run([*SUDO, "cat", f"/proc/{pid}/cmdline"], check=True, capture_output=True)
    command = done.stdout.decode().rstrip("\0").split("\0")
    if managed:
        subprocess.run([*SUDO, "systemctl", "stop", "docker.socket", "docker.service"], check=True)
    else:
        subprocess.run([*SUDO, "kill", "-TERM", str(pid)], check=True)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 120, "the engine has ended")
    say("the engine is down")
    try:
        yield
    finally:
        if managed:
            subprocess.run([*SUDO, "systemctl", "start", "docker.socket", "docker.service"], check=True)
        else:
            # As the one who started it would: it outlives this test and writes on into its log.
            log = ROOT / ".state/machine/dockerd.log"
            with (log if log.parent.is_dir() else ROOT / ".state/dockerd.log").open("a") as output:
                subprocess.Popen(
                    [*SUDO, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True,
                )  # fmt: skip
        wait_for(
            lambda: subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0,
            120,
            "the engine answers again",
        )
        say("the engine is up")


def interrupted(task: str, *arguments: str) -> str:
    """Run make and press Ctrl-C a few seconds into a task; return what it had printed."""
    run = subprocess.Popen(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert run.stdout
    printed = ""
    try:
        for line in run.stdout:
            printed += line
            if task in line:
                break
        time.sleep(3)
        os.killpg(run.pid, signal.SIGINT)
        printed += run.communicate(timeout=120)[0]
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait(30)
    assert task in printed, f"{task!r} was never reached:\n{printed[-6000:]}"
    assert run.returncode != 0, printed[-6000:]
    say(f"make {' '.join(arguments)} was interrupted in {task!r}")
    return printed

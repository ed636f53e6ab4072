"""What goes between the hosts of the running site: encrypted, verified, and renewed without a pause."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import tls_support

from .conftest import FACTS, NAME, ROOT, STATE, Host, Playbook, wait_for, why
from .conftest import PORTS as PUBLISHED
from .site import docker, ended, launch, pages_login, state, trust

ADDRESS = {role: host["private_ip"] for role, host in FACTS["network_hosts"].items()}
LOCAL_CLOUD = yaml.safe_load((ROOT / "roles/local-cloud/defaults/main.yml").read_text())
ADDRESS["snowflake"] = LOCAL_CLOUD["local_cloud_addresses"]["snowflake"]
PORTS = (5432, 8000, 8080)
HOSTS = (f"{NAME}-postgres", f"{NAME}-airbyte", f"{NAME}-dagster-dbt", f"{NAME}-metabase")
CLIENTS = """select coalesce(json_agg(json_build_object(
    'login', usename, 'address', host(client_addr), 'encrypted', ssl)), '[]')
    from pg_stat_activity join pg_stat_ssl using (pid) where client_addr is not null and usename is not null"""

# Writes what goes to and from some ports into a file until its input ends, then says how many bytes each address sent and got.
# argv: interface, file, ports.
CAPTURE = """
import collections, json, select, socket, sys
line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL: what is sent too
line.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE: a burst fits
line.bind((sys.argv[1], 0))
print("hearing", flush=True)
sizes, ports = collections.Counter(), set(map(int, sys.argv[3:]))
with open(sys.argv[2], "wb") as file:
    while True:
        ready = select.select([line, sys.stdin], [], [])[0]
        if sys.stdin in ready:
            break
        frame = line.recv(1 << 17)
        packet = frame[14:]
        if frame[12:14] != bytes([8, 0]) or packet[9] != 6:  # TCP in IPv4
            continue
        head = (packet[0] & 15) * 4
        source, target = (int.from_bytes(packet[head + at : head + at + 2], "big") for at in (0, 2))
        if ports & {source, target}:
            end = int.from_bytes(packet[2:4], "big") or len(packet)
            data = packet[head + (packet[head + 12] >> 4) * 4 : end]
            file.write(data)
            for one in (packet[12:16], packet[16:20]):
                sizes[socket.inet_ntoa(one)] += len(data)
print(json.dumps(sizes))
"""
# The texts of its input, a JSON list, that a file holds.
SEARCH = """
import json, sys
data = open(sys.argv[1], "rb").read()
print(json.dumps([one for one in json.load(sys.stdin) if one.encode() in data]))
"""
# In a container of Dagster: a login with other parameters than its own; says why it fails, or nothing.
LOGIN = """
import json, os, sys
import psycopg2
own = {"host": os.environ["DAGSTER_PG_HOST"], "port": os.environ["DAGSTER_PG_PORT"], "dbname": os.environ["DAGSTER_PG_DATABASE"],
       "user": os.environ["DAGSTER_PG_USER"], "password": os.environ["DAGSTER_PG_PASSWORD"], "connect_timeout": 10}
try:
    psycopg2.connect(**own | json.loads(sys.argv[1])).close()
except psycopg2.OperationalError as error:
    print(" ".join(str(error).split()))
"""
# The same for a server that stands for PostgreSQL; behind the text of tls_support.
FOREIGN = """
import json
import psycopg2
with Listener(Authority("foreign").sign()) as server:
    try:
        psycopg2.connect(host="localhost", port=server.port, user="dagster", password="hush", connect_timeout=10)
    except psycopg2.OperationalError as error:
        print(json.dumps({"error": str(error), "said": len(server.said)}))
"""
FOREIGN_SNOWFLAKE = """
import json
import snowflake.connector
with HttpsListener(Authority("foreign").sign()) as server:
    try:
        snowflake.connector.connect(account="retailflow", host="localhost", port=server.port, user="DBT", password="hush",
            login_timeout=5, disable_ocsp_checks=True)
    except snowflake.connector.errors.Error as error:
        print(json.dumps({"error": str(error), "said": len(server.said)}))
"""
# A session that says who it is at the beginning, and again when its input ends.
SESSION = """
import os, sys
import psycopg2
link = psycopg2.connect(host=os.environ["DAGSTER_PG_HOST"], port=os.environ["DAGSTER_PG_PORT"],
    dbname=os.environ["DAGSTER_PG_DATABASE"], user=os.environ["DAGSTER_PG_USER"], password=os.environ["DAGSTER_PG_PASSWORD"])
link.autocommit = True
def ask():
    with link.cursor() as cursor:
        cursor.execute("select pg_backend_pid()::text || ' ' || pg_postmaster_start_time()")
        print(cursor.fetchone()[0], flush=True)
ask()
sys.stdin.read()
ask()
"""
# The digest of the certificate that PostgreSQL presents now, verified; see "SSL Session Encryption" in its manual.
PRESENTED = """
import hashlib, os, socket, ssl
host = os.environ["DAGSTER_PG_HOST"]
line = socket.create_connection((host, int(os.environ["DAGSTER_PG_PORT"])), 10)
line.sendall(bytes([0, 0, 0, 8, 4, 210, 22, 47]))
assert line.recv(1) == b"S"
context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
with context.wrap_socket(line, server_hostname=host) as trusted:
    print(hashlib.sha256(trusted.getpeercert(True)).hexdigest())
"""


def login(dagster: Host, **changes: str) -> str:
    """Why a login from Dagster's host fails; empty where it does not."""
    told = dagster.check_output("docker exec dagster-dbt python -c %s %s", LOGIN, json.dumps(changes))
    return str(told).strip()


@dataclass(frozen=True)
class Cycle:
    """What was on the network of the hosts while sales were generated, synced and transformed."""

    sessions: list[dict[str, Any]]  # of clients, seen meanwhile
    sizes: dict[str, int]  # bytes by the address that sent or got them
    heard: set[str]  # of the texts that were searched for
    customers: set[str]
    clear_login: str  # the name of the login that was tried in clear meanwhile
    refusal: str  # what it was told


@pytest.fixture(scope="module")
def cycle(
    postgres: Host, dagster: Host, sql: Callable[[str], str], generate: Callable[[Any], dict[str, Any]]
) -> Iterator[Cycle]:
    path = f"/tmp/heard-{uuid.uuid4()}"
    inside = {one: ["docker", "exec", "--interactive", one, "python3", "-c"] for one in HOSTS}
    sizes: Counter[str] = Counter()
    with ExitStack() as stack:
        captures = [
            stack.enter_context(
                subprocess.Popen(
                    [*inside[one], CAPTURE, "eth0", path, *map(str, PORTS)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for one in HOSTS
        ]
        try:
            for capture in captures:
                assert capture.stdout and capture.stdout.readline() == "hearing\n"
            clear_login = f"nobody-{uuid.uuid4()}"
            refusal = login(dagster, user=clear_login, sslmode="disable")
            made = generate({"rows": 200})
            assert "error" not in made, made
            sessions: list[dict[str, Any]] = []
            run = launch("sales_job")

            def over() -> bool:
                sessions.extend(json.loads(sql(CLIENTS)))
                return state(run) in {"SUCCESS", "FAILURE", "CANCELED"}

            wait_for(over, 300, "the cycle has ended")
            assert ended(run) == "SUCCESS"
        finally:
            for capture in captures:
                assert capture.stdin and capture.stdout
                capture.stdin.close()
                sizes.update(json.loads(capture.stdout.read() or "{}"))
    between = f"order_id between {made['first_order_id']} and {made['last_order_id']}"
    customers = set(
        json.loads(
            sql(f"select json_agg(distinct cust_name) from sales where {between} and length(cust_name) > 8")
        )
    )
    secret = json.loads(docker("exec", HOSTS[1], "/opt/airbyte/install.sh", "credentials"))["client_secret"]
    words = [*customers, secret, "SCRAM-SHA-256", "login-request", "Bearer ", clear_login]
    wanted = json.dumps(words)
    heard: set[str] = set()
    for one in HOSTS:
        found = subprocess.run(
            [*inside[one], SEARCH, path],
            input=wanted,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        heard |= set(json.loads(found.stdout))
        docker("exec", one, "rm", path)
    yield Cycle(sessions, sizes, heard, customers, clear_login, refusal)


def test_every_session_of_a_client_is_encrypted(cycle: Cycle) -> None:
    assert {one["login"] for one in cycle.sessions} >= {"dagster", "metabase"}
    assert [one for one in cycle.sessions if not one["encrypted"]] == []


def test_no_part_of_a_cycle_is_in_clear_on_the_network(cycle: Cycle) -> None:
    """The capture hears what is in clear: the name of a login that was tried so."""
    assert cycle.clear_login in cycle.heard
    for role in ("airbyte", "dagster_dbt", "snowflake"):
        assert cycle.sizes.get(ADDRESS[role], 0) > 10_000, cycle.sizes
    functions = set(cycle.sizes) - set(ADDRESS.values())
    assert sum(cycle.sizes[one] for one in functions) > 1_000, f"no function was heard: {cycle.sizes}"
    assert len(cycle.customers) > 10
    assert cycle.heard == {cycle.clear_login}


def test_a_login_in_clear_is_refused(cycle: Cycle, dagster: Host) -> None:
    assert "no encryption" in cycle.refusal and cycle.clear_login in cycle.refusal
    assert "no encryption" in login(dagster, sslmode="disable"), "also with the right password"
    assert login(dagster) == ""


@pytest.mark.parametrize(
    ("user", "database"),
    [("metabase", "metabase"), ("airbyte", "retailflow_db"), ("retailflow_admin", "retailflow_db")],
)
def test_a_login_from_another_host_is_refused(dagster: Host, user: str, database: str) -> None:
    told = login(dagster, user=user, dbname=database, password="any")
    assert "no pg_hba.conf entry" in told and f'user "{user}"' in told, told


def test_a_server_of_another_authority_is_refused() -> None:
    """By a program of a container of the site, with nothing but the environment that it has."""
    program = Path(tls_support.__file__).read_text() + FOREIGN
    command = [
        "docker",
        "exec",
        "-i",
        f"{NAME}-dagster-dbt",
        "docker",
        "exec",
        "-i",
        "dagster-dbt",
        "python",
        "-",
    ]
    done = subprocess.run(command, input=program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "certificate verify failed" in told["error"] and told["said"] == 0, told


def test_a_snowflake_of_another_authority_is_refused() -> None:
    """By the containers that read and write the warehouse, with nothing but the environment that each has."""
    for host, container in (
        (f"{NAME}-dagster-dbt", "dagster-dbt"),
        (f"{NAME}-airbyte", "airbyte"),
        (f"{NAME}-metabase", "metabase"),
    ):
        done = subprocess.run(
            ["docker", "exec", "-i", host, "docker", "exec", "-i", container, "python", "-W", "ignore", "-"],
            input=Path(tls_support.__file__).read_text() + FOREIGN_SNOWFLAKE,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert "certificate verify failed" in told["error"] and told["said"] == 0, f"{container}: {told}"


def test_a_renewal_disconnects_nobody(dagster: Host, postgres: Host, playbook: Playbook) -> None:
    """Same server process, same session, another certificate."""

    def presented() -> str:
        return str(dagster.check_output("docker exec dagster-dbt python -c %s", PRESENTED)).strip()

    before = presented()
    process = postgres.check_output("docker inspect --format '{{.State.Pid}}' postgres")
    command = ["docker", "exec", "-i", f"{NAME}-dagster-dbt"]
    command += ["docker", "exec", "-i", "dagster-dbt", "python", "-c", SESSION]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdin and session.stdout
        try:
            first = session.stdout.readline()
            assert first.strip(), "the session did not begin"
            (STATE / "certificates/postgres.crt").unlink()
            run = playbook("playbooks/configure.yml", "--limit", "localhost:postgres")
            assert run.returncode == 0, why(run)
        finally:
            session.stdin.close()
        assert session.stdout.read() == first
    assert presented() != before
    assert postgres.check_output("docker inspect --format '{{.State.Pid}}' postgres") == process
    assert login(dagster) == ""


@pytest.mark.parametrize(
    ("page", "status"),
    [("dagster", 401), ("dbt_docs", 401), ("airbyte", 401), ("metabase", 200)],
)
def test_every_page_is_shown_by_https_alone(page: str, status: int) -> None:
    """As people reach it on this machine; one without a login of its own asks for one."""
    port = PUBLISHED[page]

    def get(context: ssl.SSLContext, **headers: str) -> int:
        request = urllib.request.Request(f"https://127.0.0.1:{port}/", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert get(trust()) == status
    assert get(trust(), Authorization=pages_login()) == 200
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        get(ssl.create_default_context(cadata=tls_support.Authority().certificate))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30)
    assert caught.value.code == 400

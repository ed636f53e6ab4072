"""What the emulated AWS API may ask of the Docker engine: a stand-in for the engine notes what arrives."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import uvicorn

from retailflow_emulators.engine.allowed import RefusedError, Site
from retailflow_emulators.engine.proxy import application

FUNCTION = "retailflow/lambda-runtime:1"
CODE = "retailflow-code-" + "a" * 64
MINE, THEIRS = "1" * 64, "2" * 64
SITE = Site(
    frozenset({FUNCTION}), "busybox:latest", "retailflow", "retailflow-code-", {"retailflow.site": "x"}
)
#: As docker-py 7 asks for the container of a function, and as moto 5.2.5 lets it.
RUN: dict[str, Any] = {
    "Hostname": None,
    "Tty": False,
    "OpenStdin": False,
    "Image": FUNCTION,
    "Cmd": ["handler", '{"rows": 5}'],
    "Env": ["A=b"],
    "Volumes": {"/var/task": {}, "/opt": {}},
    "NetworkingConfig": {"EndpointsConfig": {"retailflow": None}},
    "HostConfig": {
        "NetworkMode": "retailflow",
        "Memory": 512 * 2**20,
        "Binds": [f"{CODE}:/var/task:rw", f"{CODE}:/opt:rw"],
        "LogConfig": {"Type": "json-file", "Config": {}},
        "ExtraHosts": ["host.docker.internal:host-gateway"],
    },
}


def test_a_function_gets_its_code_and_network_and_no_right() -> None:
    made = SITE.container(json.loads(json.dumps(RUN)))
    host = made.pop("HostConfig")
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Binds"] == RUN["HostConfig"]["Binds"] and host["Memory"] == 512 * 2**20
    assert "ExtraHosts" not in host and host["NetworkMode"] == "retailflow"
    assert made == {
        "Image": FUNCTION,
        "Cmd": RUN["Cmd"],
        "Env": ["A=b"],
        "Labels": {"retailflow.site": "x", "retailflow.engine": "retailflow-code-"},
        "NetworkingConfig": {"EndpointsConfig": {"retailflow": {}}},
    }


def test_what_fills_a_volume_has_no_network() -> None:
    asked = {
        "Image": "docker.io/library/busybox:latest",
        "Cmd": ["sleep", "100"],
        "HostConfig": {"NetworkMode": "default"},
    }
    assert SITE.container(asked)["HostConfig"]["NetworkMode"] == "none"


@pytest.mark.parametrize(
    ("place", "setting"),
    [
        ("HostConfig", {"Privileged": True}),
        ("HostConfig", {"Binds": ["/:/opt:rw"]}),
        ("HostConfig", {"Binds": ["/var/run/docker.sock:/var/task:rw"]}),
        ("HostConfig", {"Binds": ["retailflow-registry:/opt:rw"]}),
        ("HostConfig", {"Binds": [f"{CODE}:/etc:rw"]}),
        ("HostConfig", {"Binds": [f"{CODE}:/tmp/data:rw"]}),
        ("HostConfig", {"Binds": [f"{CODE}:/opt:rw,rslave"]}),
        ("HostConfig", {"Binds": [f"{CODE}\n:/opt:rw"]}),
        ("HostConfig", {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/opt"}]}),
        ("HostConfig", {"VolumesFrom": ["retailflow-aws"]}),
        ("HostConfig", {"CapAdd": ["SYS_ADMIN"]}),
        ("HostConfig", {"Devices": [{"PathOnHost": "/dev/vda"}]}),
        ("HostConfig", {"DeviceCgroupRules": ["b *:* rwm"]}),
        ("HostConfig", {"SecurityOpt": ["seccomp=unconfined"]}),
        ("HostConfig", {"PidMode": "host"}),
        ("HostConfig", {"IpcMode": "host"}),
        ("HostConfig", {"UTSMode": "host"}),
        ("HostConfig", {"UsernsMode": "host"}),
        ("HostConfig", {"CgroupnsMode": "host"}),
        ("HostConfig", {"CgroupParent": "/"}),
        ("HostConfig", {"Runtime": "other"}),
        ("HostConfig", {"Sysctls": {"kernel.core_pattern": "|x"}}),
        ("HostConfig", {"OomScoreAdj": -1000}),
        ("HostConfig", {"RestartPolicy": {"Name": "always"}}),
        ("HostConfig", {"PortBindings": {"80/tcp": [{"HostPort": "80"}]}}),
        ("HostConfig", {"PublishAllPorts": True}),
        ("HostConfig", {"NetworkMode": "host"}),
        ("HostConfig", {"NetworkMode": f"container:{THEIRS}"}),
        ("HostConfig", {"LogConfig": {"Type": "syslog", "Config": {}}}),
        ("HostConfig", {"Memory": 2**40}),
        ("HostConfig", {"Memory": -1}),
        ("HostConfig", {"ASettingOfALaterEngine": 1}),
        ("NetworkingConfig", {"EndpointsConfig": {"bridge-of-others": {}}}),
        ("", {"Image": "retailflow/postgres:1"}),
        ("", {"Image": "retailflow/lambda-runtime:1@sha256:0"}),
        ("", {"Image": ["x"]}),
        ("", {"User": "root"}),
        ("", {"Entrypoint": ["sh"]}),
        ("", {"Cmd": "sh"}),
        ("", {"Env": {"A": "b"}}),
        ("", {"Volumes": {"/": {}}}),
    ],
)
def test_any_other_setting_is_refused(place: str, setting: dict[str, Any]) -> None:
    asked = json.loads(json.dumps(RUN))
    (asked[place] if place else asked).update(setting)
    with pytest.raises(RefusedError):
        SITE.container(asked)


@pytest.mark.parametrize(
    "asked",
    [
        {"Name": "../../etc"},
        {"Name": "a", "Driver": "other"},
        {"Name": "a", "DriverOpts": {"type": "none", "o": "bind", "device": "/"}},
        {"Name": "a", "ClusterVolumeSpec": {"Group": "x"}},
    ],
)
def test_a_volume_is_an_empty_one_of_the_site(asked: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        SITE.volume(asked)
    assert SITE.volume({"Name": "a" * 64, "Driver": "local"})["Name"] == CODE


class Engine(socketserver.ThreadingUnixStreamServer):
    """Answers as the engine does to a few requests, and notes all."""

    daemon_threads = True
    seen: list[tuple[str, str, Any]]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Engine
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = b""
            while size := int(self.rfile.readline(), 16):
                parts += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return parts
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self) -> None:
        self.server.seen.append((self.command, self.path, self._body()))
        status, body = 200, b"{}"
        if self.path.endswith("/containers/create"):
            status, body = 201, json.dumps({"Id": MINE, "Warnings": []}).encode()
        elif self.path.endswith("/volumes/create"):
            status, body = 201, json.dumps({"Name": CODE}).encode()
        elif self.path.endswith("/version"):
            body = json.dumps({"ApiVersion": "1.44"}).encode()
        elif self.path.endswith("/json"):
            labels = SITE.marks if MINE in self.path else {"retailflow.site": "x"}
            log = {"LogConfig": {"Type": "json-file", "Config": {}}}
            body = json.dumps(
                {"Id": MINE, "Config": {"Labels": labels, "Tty": False}, "HostConfig": log}
            ).encode()
        elif self.path.endswith("/wait"):
            body = b'{"StatusCode": 0}'
        elif "/logs" in self.path:
            body = b"\x01\0\0\0\0\0\0\x02ok"
        elif self.command == "DELETE" or self.path.endswith("/start"):
            status, body = 204, b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = answer


class Way:
    """The server between, and what arrived at the engine behind it."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path, self.seen = path, engine.seen
        self.url = f"unix://{path}"

    def send(self, method: str, path: str, body: bytes | None = None) -> int:
        connection = http.client.HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.path))
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    tmp_path = tmp_path_factory.mktemp("engine")
    engine = Engine(str(tmp_path / "engine"), Handler)
    engine.seen = []
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    path = tmp_path / "way"
    server = uvicorn.Server(
        uvicorn.Config(application(SITE, str(tmp_path / "engine")), uds=str(path), log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
    yield Way(path, engine)
    server.should_exit = True
    thread.join(10)
    engine.shutdown()
    engine.server_close()


@pytest.fixture
def way(running: Way) -> Way:
    running.seen.clear()
    return running


def test_docker_py_runs_a_function_unchanged(way: Way) -> None:
    """The calls of moto's LambdaFunction, in their order."""
    client = docker.DockerClient(way.url)
    volume = client.volumes.create("a" * 64)
    assert client.volumes.list() == [] and volume.name == CODE
    client.images.get("docker.io/library/busybox:latest")
    filler = client.containers.run(
        "busybox", "sleep 100", volumes={volume.name: {"bind": "/tmp/data", "mode": "rw"}}, detach=True
    )
    assert filler.put_archive("/tmp/data", b"x" * 300_000)
    filler.remove(force=True)
    client.images.get(FUNCTION)
    running = client.containers.run(
        FUNCTION,
        ["handler", "{}"],
        remove=False,
        mem_limit="512m",
        volumes={volume.name: {"bind": "/var/task", "mode": "rw"}},
        environment={"A": "b"},
        detach=True,
        log_config=docker.types.LogConfig(type=docker.types.LogConfig.types.JSON),
        network="retailflow",
        extra_hosts={"host.docker.internal": "host-gateway"},
    )
    assert running.wait(timeout=5)["StatusCode"] == 0
    assert running.logs(stdout=True, stderr=False) == b"ok"
    running.stop()
    running.kill()
    running.remove()
    volume.remove()
    client.close()
    made = [json.loads(body) for method, path, body in way.seen if path.endswith("/containers/create")]
    assert [one["HostConfig"]["NetworkMode"] for one in made] == ["none", "retailflow"]
    assert all(one["HostConfig"]["CapDrop"] == ["ALL"] for one in made)
    assert ("PUT", f"/v1.44/containers/{MINE}/archive?path=%2Ftmp%2Fdata", b"x" * 300_000) in way.seen


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1.44/containers/json"),
        ("GET", "/v1.44/info"),
        ("GET", "/v1.44/volumes/retailflow-registry"),
        ("DELETE", "/v1.44/volumes/retailflow-registry"),
        ("DELETE", f"/v1.44/volumes/{CODE}%2f..%2fretailflow-registry"),
        ("POST", "/v1.44/images/create?fromImage=busybox"),
        ("GET", "/v1.44/images/retailflow/postgres:1/json"),
        ("DELETE", f"/v1.44/images/{FUNCTION}"),
        ("POST", f"/v1.44/containers/{THEIRS}/stop"),
        ("DELETE", f"/v1.44/containers/{THEIRS}?force=1"),
        ("PUT", f"/v1.44/containers/{THEIRS}/archive?path=/opt"),
        ("PUT", f"/v1.44/containers/{MINE}/archive?path=/etc"),
        ("PUT", f"/v1.44/containers/{MINE}/archive?path=/var/task"),
        ("PUT", f"/v1.44/containers/{MINE}/archive?path=/opt&path=/etc"),
        ("PUT", f"/v1.44/containers/{MINE}/archive?path=/etc&path=/opt"),
        ("POST", f"/v1.44/containers/{MINE}/exec"),
        ("POST", f"/v1.44/containers/{MINE}/attach"),
        ("POST", f"/v1.44/containers/{MINE}/update"),
        ("GET", f"/v1.44/containers/{MINE}/export"),
        ("POST", "/v1.44/containers/create?name=retailflow-postgres"),
        ("POST", "/v1.44/build"),
        ("POST", "/v1.44/swarm/init"),
        ("GET", "/v1.44/containers/../info"),
        ("GET", "//info"),
        ("POST", "/v1.44/networks/create"),
        ("POST", "/v1.44/session"),
        ("PATCH", "/version"),
    ],
)
def test_any_other_request_is_refused_and_never_arrives(way: Way, method: str, path: str) -> None:
    assert way.send(method, path, b"{}" if method in ("POST", "PUT") else None) in (403, 405)
    looks = {f"/v1.44/containers/{identity}/json" for identity in (MINE, THEIRS)}
    assert [one for one in way.seen if one[:2] not in {("GET", look) for look in looks}] == []


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"Image": 1}', b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_request_is_refused(way: Way, body: bytes) -> None:
    for path in ("/v1.44/containers/create", "/v1.44/volumes/create"):
        if (path, body) != ("/v1.44/volumes/create", b'{"Image": 1}'):
            assert way.send("POST", path, body) == 403
    assert way.seen == []

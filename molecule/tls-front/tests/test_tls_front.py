"""What a client of the front meets, from inside the host."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

LOGIN = "Basic " + base64.b64encode(b"retailflow:molecule-secret-of-pages").decode()
# Makes one request by TLS and prints status, headers, body and the certificate's names. argv: JSON.
ASK = """
import http.client, json, socket, ssl, sys
given = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile="/etc/retailflow/tls-front/authority.crt")
if given.get("version"):
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, given["version"])
line = socket.create_connection(("127.0.0.1", given["port"]), 10)
try:
    trusted = context.wrap_socket(line, server_hostname=given.get("name", "localhost"))
except (ssl.SSLError, OSError) as error:
    print(json.dumps({"error": str(error)}))
    raise SystemExit
link = http.client.HTTPConnection("localhost")
link.sock = trusted
link.request("GET", given.get("path", "/"), headers=given.get("headers", {}))
answer = link.getresponse()
names = [value for _, value in trusted.getpeercert()["subjectAltName"]]
body = answer.read().decode()
print(json.dumps({"status": answer.status, "headers": dict(answer.getheaders()), "body": body, "names": names}))
"""
SOCKET = """
import socket, ssl, sys
context = ssl.create_default_context(cafile="/etc/retailflow/tls-front/authority.crt")
line = context.wrap_socket(socket.create_connection(("127.0.0.1", 3000), 10), server_hostname="localhost")
line.sendall(("GET /graphql HTTP/1.1\\r\\nHost: localhost\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
              f"Authorization: {sys.argv[1]}\\r\\n\\r\\n").encode())
assert line.recv(1000).startswith(b"HTTP/1.1 101")
print("open", flush=True)
for text in sys.stdin:
    line.sendall(text.encode())
    print(line.recv(1000).decode(), end="", flush=True)
"""


def ask(host: Any, port: int = 3000, **given: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        host.check_output("python3 -c %s %s", ASK, json.dumps({"port": port, **given}))
    )
    return told


def test_a_page_without_a_login_of_its_own_asks_for_one(host: Any) -> None:
    refused = ask(host)
    assert refused["status"] == 401 and refused["headers"]["WWW-Authenticate"].startswith("Basic")
    wrong = "Basic " + base64.b64encode(b"retailflow:wrong").decode()
    assert ask(host, headers={"Authorization": wrong})["status"] == 401
    taken = ask(host, headers={"Authorization": LOGIN})
    assert taken["status"] == 200
    told = json.loads(taken["body"])["headers"]
    assert "Authorization" not in told and told["X-Forwarded-Proto"] == "https"


@pytest.mark.parametrize("path", ["/api/../", "/api/%2e%2e/", "//", "/API/"])
def test_nothing_but_the_open_paths_is_open(host: Any, path: str) -> None:
    assert ask(host, path=path)["status"] == 401


def test_a_path_with_a_login_of_its_own_gets_what_the_client_sent(host: Any) -> None:
    answer = ask(host, path="/api/public/v1/health?x=1", headers={"Authorization": "Bearer token"})
    told = json.loads(answer["body"])
    assert told["path"] == "/api/public/v1/health?x=1" and told["headers"]["Authorization"] == "Bearer token"


def test_a_page_with_a_login_of_its_own_is_passed_on(host: Any) -> None:
    answer = ask(host, 3001, headers={"Authorization": "Bearer token"})
    assert json.loads(answer["body"])["headers"]["Authorization"] == "Bearer token"


@pytest.mark.parametrize("name", ["pages.molecule.internal", "localhost"])
def test_the_certificate_has_the_names_of_the_host(host: Any, name: str) -> None:
    answer = ask(host, name=name, headers={"Authorization": LOGIN, "Host": name})
    assert set(answer["names"]) == {"pages.molecule.internal", "localhost", "127.0.0.1"}
    assert ("Strict-Transport-Security" in answer["headers"]) == (name != "localhost")
    assert "1." not in answer["headers"]["Server"]
    assert "not valid for" in ask(host, name="elsewhere.internal")["error"]


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_tls_before_1_2_is_refused(host: Any, version: str) -> None:
    assert ("error" in ask(host, version=version)) == (version in ("TLSv1", "TLSv1_1"))


def test_plain_http_is_refused(host: Any) -> None:
    answer = host.check_output(
        "curl -s -o /dev/null -w '%{http_code}' http://localhost:3000/api/public/v1/health"
    )
    assert answer == "400"


def test_nothing_else_is_shown_and_the_services_are_on_the_loopback_alone(host: Any) -> None:
    listening = {
        line.rpartition(":")[0].split("tcp://")[1] + ":" + line.rpartition(":")[2]
        for line in host.socket.get_listening_sockets()
        if line.startswith("tcp://")
    }
    assert {"0.0.0.0:3000", "0.0.0.0:3001", "127.0.0.1:13000"} <= listening
    assert not [one for one in listening if one.endswith(":80") or one == "0.0.0.0:13000"]


def test_secrets_are_files_that_others_cannot_read(host: Any) -> None:
    key, login = (host.file(f"/etc/retailflow/tls-front/{name}") for name in ("server.key", "login"))
    assert (key.mode, key.user) == (0o600, "root")
    assert (login.mode, login.user, login.group) == (0o640, "root", "www-data")
    assert "molecule-secret-of-pages" not in login.content_string


def test_a_websocket_goes_on_over_a_renewal(host: Any) -> None:
    """The front shows another certificate to who comes next, and cuts off nobody."""
    script = f"""
import subprocess, sys
client = subprocess.Popen([sys.executable, "-c", {SOCKET!r}, {LOGIN!r}], stdin=-1, stdout=-1, text=True)
assert client.stdout.readline() == "open\\n"
def say(text):
    client.stdin.write(text + "\\n")
    client.stdin.flush()
    assert client.stdout.readline() == text + "\\n", text
say("before")
subprocess.run(["touch", "/etc/retailflow/tls-front/server.crt"], check=True)
subprocess.run(["systemctl", "reload", "nginx"], check=True)
say("after")
client.stdin.close()
"""
    done = host.run("timeout 60 python3 -c %s", script)
    assert done.rc == 0, done.stderr


def test_a_service_that_is_down_is_no_error_of_the_front(host: Any) -> None:
    host.check_output("systemctl stop backend")
    try:
        assert ask(host, 3001)["status"] == 502
    finally:
        host.check_output("systemctl start backend")

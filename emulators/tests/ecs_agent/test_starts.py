"""Starts that fail, with ECS's words, and what a start needs: images, secrets, volumes, roles."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import IMAGE, KEYS, ROLE, Host, container, wanted

SSM = "arn:aws:ssm:us-east-1:123456789012:parameter"
SECRETS = {"taskDefinition": None, "executionRoleArn": ROLE}


def reason(host: Host) -> str:
    """Why the task ended, as the API was told; the container says the same."""
    told = host.api.sent("SubmitTaskStateChange")[-1]
    assert told["status"] == "STOPPED"
    assert told["reason"] in [one.get("reason") for one in told["containers"]]
    return str(told["reason"])


def environment(host: Host, name: str = "db") -> dict[str, str]:
    return dict(one.split("=", 1) for one in host.made(name)["Config"]["Env"])


def test_an_image_that_is_not_there(host: Host) -> None:
    del host.docker.registry[IMAGE]
    host.run(wanted())
    assert reason(host) == (
        "CannotPullContainerError: Error response from daemon: manifest for registry:5000/db:1 not found: manifest unknown"
    )
    assert host.docker.made == {} and host.pauses == []


def test_a_pull_that_fails_is_tried_again_and_then_the_hosts_own_image_runs(host: Host) -> None:
    host.docker.registry[IMAGE] = "error connection refused"
    host.run(wanted(1))
    assert reason(host) == "CannotPullContainerError: Error response from daemon: connection refused"
    assert len(host.docker.called("pull")) == 5 and len(host.pauses) == 4
    host.docker.images[IMAGE] = "sha256:" + "b" * 64
    host.run(wanted(2))
    assert host.task(2).status == "RUNNING"
    assert len(host.docker.called("pull")) == 6, "one try is enough where the host has the image"


def test_the_logins_of_the_host_are_read_again_before_each_pull(host: Host) -> None:
    host.run(wanted())
    calls = [one for one, _ in host.docker.called("reload_config", "pull")]
    assert calls == ["reload_config", "pull"]


def test_a_container_that_cannot_start_ends_the_others(host: Host) -> None:
    words = "driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated"
    host.docker.registry["registry:5000/web:1"] = host.docker.registry[IMAGE]
    host.docker.cannot_start["registry:5000/web:1"] = words
    host.run(wanted(1, container(), container("web", image="registry:5000/web:1")))
    assert reason(host) == f"CannotStartContainerError: Error response from daemon: {words}"
    assert host.docker.running() == []


def test_a_task_that_ends_at_once(host: Host) -> None:
    host.docker.ends[IMAGE] = 0
    host.run(wanted())
    told = host.api.sent("SubmitTaskStateChange")[-1]
    assert (told["status"], told["reason"]) == ("STOPPED", "Essential container in task exited")
    assert told["containers"][0]["exitCode"] == 0


def test_a_task_that_must_stop_while_it_is_pulled_is_not_started(host: Host) -> None:
    host.docker.images[IMAGE] = host.docker.registry[IMAGE]

    def pull(*_arguments: Any, **_options: Any) -> Any:
        host.agent.apply([wanted(desired="STOPPED")])
        yield {"status": "Pulling"}
        raise AssertionError("nobody wants it any more")

    host.docker.pull = pull  # type: ignore[method-assign]
    host.run(wanted(), rounds=1)
    host.run(wanted(desired="STOPPED"))
    assert host.docker.made == {} and host.task().status == "STOPPED"


def test_secrets_come_by_the_execution_role_into_the_environment_alone(host: Host) -> None:
    host.services.parameters = {"/shop/db/password": "hunter2", "plain": "p", "named": "n"}
    host.run(
        wanted(
            1,
            container(
                environment=[{"name": "A", "value": "1"}],
                secrets=[
                    {"name": "PASSWORD", "valueFrom": f"{SSM}/shop/db/password"},
                    {"name": "PLAIN", "valueFrom": f"{SSM}/plain"},
                    {"name": "NAMED", "valueFrom": "named"},
                ],
            ),
            definition={"executionRoleArn": ROLE},
            executionRoleCredentials=KEYS,
        )
    )
    found = environment(host)
    assert (found["PASSWORD"], found["PLAIN"], found["NAMED"], found["A"]) == ("hunter2", "p", "n", "1")
    assert {keys for service, keys in host.services.seen if service == "ssm"} == {"ASIA1"}
    assert "hunter2" not in (host.settings.data / "ecs_agent_data.json").read_text()
    assert "hunter2" not in str(host.made()["Config"]["Labels"]) + str(host.api.calls)
    assert (host.settings.data / "ecs_agent_data.json").stat().st_mode & 0o77 == 0


def secret(**changes: Any) -> dict[str, Any]:
    one = container(secrets=[{"name": "PASSWORD", "valueFrom": f"{SSM}/shop/password"}])
    return wanted(1, one, definition={"executionRoleArn": ROLE}, **changes)


def test_a_secret_that_does_not_exist(host: Host) -> None:
    host.run(secret(executionRoleCredentials=KEYS))
    assert reason(host).startswith("ResourceInitializationError: unable to pull secrets or registry auth: ")
    assert reason(host).endswith("invalid parameters: /shop/password")


def test_a_secret_that_the_role_may_not_read(host: Host) -> None:
    host.services.denied = True
    host.run(secret(executionRoleCredentials=KEYS))
    assert reason(host).startswith("ResourceInitializationError: unable to pull secrets or registry auth: ")
    assert "AccessDeniedException" in reason(host)


def test_a_role_that_cannot_be_assumed(host: Host) -> None:
    host.run(secret())
    assert f"ECS was unable to assume the role '{ROLE}'" in reason(host)


def test_volumes_are_made_once_and_stay(host: Host) -> None:
    shared = {"scope": "shared", "autoprovision": True, "driver": "local", "labels": {"Project": "shop"}}
    task = wanted(
        1,
        container(
            mountPoints=[
                {"sourceVolume": "data", "containerPath": "/data"},
                {"sourceVolume": "keys", "containerPath": "/keys", "readOnly": True},
            ]
        ),
        definition={
            "volumes": [
                {"name": "data", "dockerVolumeConfiguration": shared},
                {"name": "keys", "host": {"sourcePath": "/etc/keys"}},
            ]
        },
    )
    host.run(task)
    assert host.docker.volumes == {"data": {"Driver": "local", "Options": {}, "Labels": {"Project": "shop"}}}
    assert host.made()["Config"]["HostConfig"]["Binds"] == ["data:/data", "/etc/keys:/keys:ro"]
    host.docker.dies(host.made()["Id"], 1)
    host.run(task | {"taskArn": wanted(2)["taskArn"]})
    assert len(host.docker.called("create_volume")) == 1
    shared["autoprovision"] = False
    host.docker.volumes.clear()
    host.run(task | {"taskArn": wanted(3)["taskArn"]})
    assert reason(host) == "ResourceInitializationError: volume data does not exist"


def test_a_task_with_a_role_is_told_where_its_credentials_are(host: Host) -> None:
    host.run(wanted(1, definition={"taskRoleArn": ROLE}, roleCredentials=KEYS), wanted(2))
    uri = environment_of(host, 1)["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
    assert uri == f"/v2/credentials/{host.task(1).credentials_id}"
    keys = host.agent.task_keys(host.task(1).credentials_id)
    assert keys and keys.access == "ASIA1"
    assert "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" not in environment_of(host, 2)
    with pytest.raises(KeyError):
        host.agent.task_keys(host.task(2).credentials_id)
    renewed = KEYS | {"accessKeyId": "ASIA2"}
    host.run(wanted(1, definition={"taskRoleArn": ROLE}, roleCredentials=renewed))
    keys = host.agent.task_keys(host.task(1).credentials_id)
    assert keys and keys.access == "ASIA2"
    assert "ASIA" not in (host.settings.data / "ecs_agent_data.json").read_text()


def environment_of(host: Host, number: int) -> dict[str, str]:
    made = host.docker.made[host.task(number).containers["db"].runtime_id]
    return dict(one.split("=", 1) for one in made["Config"]["Env"])


@pytest.mark.parametrize(
    ("change", "definition", "words"),
    [
        ({"dependsOn": [{"containerName": "x", "condition": "START"}]}, {}, "containerDefinitions[db].dependsOn"),
        ({"privileged": True}, {}, "containerDefinitions[db].privileged"),
        ({"linuxParameters": {"swappiness": 3}}, {}, "containerDefinitions[db].linuxParameters.swappiness"),
        ({"logConfiguration": {"logDriver": "gelf"}}, {}, "containerDefinitions[db].logConfiguration.logDriver gelf"),
        ({"secrets": [{"name": "A", "valueFrom": "arn:aws:secretsmanager:x"}]}, {}, "secrets from secretsmanager"),
        ({}, {"networkMode": "awsvpc"}, "networkMode awsvpc"),
        ({}, {"pidMode": "host"}, "pidMode"),
        ({}, {"volumes": [{"name": "scratch"}]}, "volumes[scratch]"),
        ({}, {"volumes": [{"name": "e", "efsVolumeConfiguration": {"fileSystemId": "x"}}]}, "efsVolumeConfiguration"),
    ],
)  # fmt: skip
def test_what_is_not_emulated_ends_the_task_by_its_name(
    host: Host, change: dict[str, Any], definition: dict[str, Any], words: str
) -> None:
    host.run(wanted(1, container(**change), definition=definition))
    assert reason(host).startswith("ResourceInitializationError: not emulated: ")
    assert words in reason(host)
    assert host.docker.made == {}

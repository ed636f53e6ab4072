"""What the agent is told, and what it refuses by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from retailflow_emulators.ecs_agent.__main__ import main
from retailflow_emulators.ecs_agent.settings import SettingError, load, read_config

ENVIRONMENT = {
    "AWS_ENDPOINT_URL": "http://aws.shop.internal:5000/",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "ec2",
    "AWS_SECRET_ACCESS_KEY": "none",
    "EMULATED_INSTANCE_ROLE_ARN": "arn:aws:iam::123456789012:role/shop-postgres",
    "EMULATED_INSTANCE_ID": "i-0123456789abcdef0",
}
CONFIG = """\
# written by a role
ECS_CLUSTER=shop
ECS_INSTANCE_ATTRIBUTES={"role": "postgres"}
ECS_RESERVED_MEMORY=256
ECS_AVAILABLE_LOGGING_DRIVERS=["json-file","awslogs"]
ECS_ENABLE_TASK_IAM_ROLE=true
ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE=true
ECS_TASK_PIDS_LIMIT=512

ECS_DISABLE_PRIVILEGED=true
ECS_CONTAINER_STOP_TIMEOUT=1m30s
ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=10m
"""


def test_the_file_and_the_environment_are_read(tmp_path: Path) -> None:
    config = tmp_path / "ecs.config"
    config.write_text(CONFIG)
    found = load(ENVIRONMENT | {"ECS_RESERVED_MEMORY": "512", "EMULATED_INSTANCE_MEMORY": "4096"}, config)
    assert (found.cluster, found.attributes, found.account) == ("shop", {"role": "postgres"}, "123456789012")
    assert (found.reserved_memory, found.instance_memory) == (512, 4096), "the environment wins"
    assert found.endpoint == "http://aws.shop.internal:5000"
    assert (found.stop_timeout, found.cleanup_wait, found.pids_limit) == (90, 600.0, 512)
    assert found.task_roles and found.logs_by_execution_role and not found.task_roles_on_host_network
    assert found.data == Path("/var/lib/ecs/data")


def test_what_is_not_said_is_as_amazons(tmp_path: Path) -> None:
    found = load(ENVIRONMENT, tmp_path / "none")
    assert (found.cluster, found.stop_timeout, found.cleanup_wait) == ("default", 30, 10_800.0)
    assert found.logging_drivers == ("json-file",) and not found.task_roles
    assert found.credentials_address == ("169.254.170.2", 80)
    assert found.introspection_address == ("127.0.0.1", 51678)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ECS_ENABLE_SPOT_INSTANCE_DRAINING", "true"),
        ("ECS_CLUSTER", "a b"),
        ("ECS_INSTANCE_ATTRIBUTES", "{"),
        ("ECS_INSTANCE_ATTRIBUTES", '{"a": 1}'),
        ("ECS_RESERVED_MEMORY", "-1"),
        ("ECS_AVAILABLE_LOGGING_DRIVERS", '["gelf"]'),
        ("ECS_ENABLE_TASK_IAM_ROLE", "yes"),
        ("ECS_DISABLE_PRIVILEGED", "2"),
        ("ECS_CONTAINER_STOP_TIMEOUT", "30"),
        ("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", "0s"),
        ("AWS_ENDPOINT_URL", "aws:5000"),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("EMULATED_INSTANCE_ROLE_ARN", "role"),
        ("EMULATED_INSTANCE_ID", "retailflow-postgres"),
        ("EMULATED_CREDENTIALS_ADDRESS", "80"),
    ],
)
def test_bad_settings_are_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        load(ENVIRONMENT | {name: value}, tmp_path / "none")


@pytest.mark.parametrize("text", ["ECS_CLUSTER", "export ECS_CLUSTER=a", "ECS_CLUSTER=a\nECS_CLUSTER=b"])
def test_bad_lines_are_refused(text: str) -> None:
    with pytest.raises(SettingError):
        read_config(text)


def test_bad_settings_end_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EMULATED_ECS_CONFIG", "/nonexistent")
    assert main([]) == 2
    assert "AWS_REGION is missing" in caplog.text or "is missing" in caplog.text


def test_the_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["start"]) == 2
    assert "usage" in capsys.readouterr().err

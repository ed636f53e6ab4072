"""The configuration of Terraform in a folder of its own, against the emulated API, brought up by its guard."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

import guarded_terraform as guard

from . import aws_support

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA0zH/1i/gokj2kHNTShGwOlYLEMmLRNoZBaRNLuTGCR"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF+kIzRA3OmnPOC+ozPwlM7b9gXz3hnSu0Z2qPp8kGtf"


def call(capsys: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run the module and return what it says."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        guard.main()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@dataclass
class Cloud:
    """A copy of the configuration with a state of its own, and the API that it speaks to."""

    root: Path
    ec2: Any

    def network(self, **changes: Any) -> Path:
        """Write the lists of the network, with the postgres-like host `db` changed."""
        path = self.root / "network.yml"
        lists = yaml.safe_load((aws_support.ROOT / "terraform/tests/network.yml").read_text())
        lists["network_hosts"]["db"] |= changes
        path.write_text(yaml.safe_dump(lists))
        return path

    def run(
        self,
        capsys: Any,
        replace: str = "",
        state: str = "present",
        check: bool = False,
        host: Any = None,
        keep: list[str] | None = None,
        **variables: Any,
    ) -> dict[str, Any]:
        """Run the module and return what it says."""
        arguments = {
            "project_path": str(self.root / "terraform"),
            "work_dir": str(self.root / "state"),
            "backend_config": {"path": str(self.root / "state/terraform.tfstate")},
            "state": state,
            "replace": [replace],
            "keep": keep or [],
            "tags": {"Project": "retailflow"},
            "region": aws_support.REGION,
            "variables": {
                "name": "retailflow",
                "region": aws_support.REGION,
                "operator_cidr": aws_support.OPERATOR,
                "public_key": KEY,
                "network_file": str(self.network(**host or {})),
                **variables,
            },
            "_ansible_check_mode": check,
        }
        return call(capsys, arguments)

    def hosts(self) -> dict[str, str]:
        """Instance ids by role."""
        filters = [{"Name": "instance-state-name", "Values": ["running", "stopped"]}]
        return {
            tag["Value"]: one["InstanceId"]
            for found in self.ec2.describe_instances(Filters=filters)["Reservations"]
            for one in found["Instances"]
            for tag in one["Tags"]
            if tag["Key"] == "Role"
        }

    def state(self) -> dict[str, str]:
        """What the state knows: ids by address. Terraform that is killed while it writes may leave an empty file."""
        text = (self.root / "state/terraform.tfstate").read_text()
        state = json.loads(text or '{"resources": []}')
        return {
            f"{one['type']}.{one['name']}"
            + (f'["{each["index_key"]}"]' if "index_key" in each else ""): each["attributes"]["id"]
            for one in state["resources"]
            if one["mode"] == "managed"
            for each in one["instances"]
        }

    def volumes(self) -> list[dict[str, Any]]:
        """Return the volumes of data."""
        filters = [{"Name": "tag:Name", "Values": ["retailflow-db-data"]}]
        return list(self.ec2.describe_volumes(Filters=filters)["Volumes"])


@contextlib.contextmanager
def clouds(folder: Path) -> Iterator[Cloud]:
    """Yield a copy of the configuration in a folder, with nothing made yet."""
    shutil.copytree(
        aws_support.ROOT / "terraform",
        folder / "terraform",
        ignore=shutil.ignore_patterns(".terraform", "*.tfstate*", "backend_override.tf", "imports.tf"),
    )
    settings = {
        **aws_support.CREDENTIALS,
        "AWS_EC2_METADATA_DISABLED": "true",
        "TF_DATA_DIR": str(folder / "data"),
        "TF_CLI_CONFIG_FILE": os.environ.get(
            "TF_CLI_CONFIG_FILE", str(aws_support.ROOT / ".state/terraform.rc")
        ),
        "CHECKPOINT_DISABLE": "1",
    }
    with aws_support.moto(folder, enforced=True) as url, pytest.MonkeyPatch.context() as patch:
        settings["AWS_ENDPOINT_URL"] = url
        with aws_support.aws_provider(folder / "terraform", folder / "provider", settings) as attached:
            for name, value in {**settings, **aws_support.LAZY, **attached}.items():
                patch.setenv(name, value)
            administrator = {f"aws_{key}": value for key, value in aws_support.ADMINISTRATOR.items()}
            yield Cloud(folder, boto3.client("ec2", region_name=aws_support.REGION, **administrator))

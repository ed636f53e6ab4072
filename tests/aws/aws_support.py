"""The aws target for tests: the project in a folder of its own, and moto's server."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from server_support import ROOT, free_port, process

BIN = Path(sys.executable).parent
PARTS = (
    "ansible.cfg",
    "inventory",
    "playbooks",
    "roles",
    "module_utils",
    "lambda",
    "terraform",
    "site.yml",
    "teardown.yml",
)
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_MOTO = ROOT / "images/moto"
BUCKET = "retailflow-terraform-state"
# An address that AWS would see; nothing is ever sent there.
OPERATOR = "52.94.76.9/32"


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Run moto's server with the settings of the local target's image; yield its address."""
    url = f"http://127.0.0.1:{free_port()}"
    settings = {
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "MOTO_AMIS_PATH": str(_MOTO / "amis.json"),
    }
    command = [sys.executable, str(_MOTO / "server.py"), "-H", "127.0.0.1"]
    command += ["-p", url.rsplit(":", 1)[1]]
    with process(command, settings, folder / "moto.log", f"{url}/moto-api/"):
        yield url


@dataclass(frozen=True)
class Run:
    """What a playbook said, and whether it succeeded."""

    ok: bool
    text: str

    @property
    def changed(self) -> int:
        """Tasks that changed something, over all hosts."""
        return sum(int(found) for found in re.findall(r"changed=(\d+)", self.text))


@dataclass(frozen=True)
class Site:
    """The project in a folder of its own, as an operator would have cloned it, pointed at the emulators."""

    root: Path
    url: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of an operator who confirms; none of the caller's own AWS settings reaches it."""
        own = {
            key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_", "ANSIBLE_"))
        }
        return (
            own
            | CREDENTIALS
            | {
                "AWS_ENDPOINT_URL": self.url,
                "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
                "ANSIBLE_HOME": str(self.root / ".state/ansible"),
                "ANSIBLE_FORCE_COLOR": "false",
                "CONFIRM": "yes",
                "PATH": f"{BIN}:{os.environ['PATH']}",
            }
        )

    def play(self, *arguments: str, **environment: str) -> Run:
        """Run playbooks of the aws target."""
        inventory = ["-i", "inventory/aws.aws_ec2.yml", "-i", "inventory/aws.yml"]
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), *inventory, *arguments],
            cwd=self.root,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        return Run(done.returncode == 0, done.stdout + done.stderr)

    def terraform(self, *arguments: str, **environment: str) -> Run:
        """Run Terraform on this copy's configuration."""
        settings = {
            "TF_CLI_CONFIG_FILE": str(self.root / ".state/terraform.rc"),
            "TF_DATA_DIR": str(self.root / ".state/aws/terraform"),
            "CHECKPOINT_DISABLE": "1",
        }
        done = subprocess.run(
            ["terraform", f"-chdir={self.root / 'terraform'}", *arguments],
            env=self.environment | settings | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        return Run(done.returncode == 0, done.stdout + done.stderr)

    def client(self, service: str) -> Any:
        """Return a client of the emulated API."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


def clone(folder: Path, url: str, snowflake_port: int) -> Site:
    """Copy the project and fill in site.yml; Terraform finds its provider as in the project itself."""
    ignored = shutil.ignore_patterns(
        "__pycache__", ".terraform", "*.tfstate*", "backend_override.tf", "site.yml"
    )
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=ignored)
        else:
            shutil.copy(source, folder / part)
    (folder / ".state").mkdir()
    settings = Path(os.environ.get("TF_CLI_CONFIG_FILE", ROOT / ".state/terraform.rc"))
    if not settings.exists():  # Terraform would look for its provider in the network
        pytest.fail(f"{settings} is missing: `tools/machine terraform` writes it")
    shutil.copy(settings, folder / ".state/terraform.rc")
    # The zip's libraries are another test's business.
    (folder / "requirements.txt").write_text("")
    (folder / "inventory/group_vars/aws/site.yml").write_text(
        f"""---
retailflow_operator_cidr: {OPERATOR}
retailflow_snowflake_account: retailflow
retailflow_snowflake_host: 127.0.0.1
retailflow_snowflake_port: {snowflake_port}
retailflow_snowflake_protocol: http
snowflake_access: false # the emulated one keeps no users
snowflake_admin_user: admin
snowflake_admin_password: accepts-anything
ecs_agent_package_checksum: sha256:{"0" * 64}
retailflow_terraform_backend: s3
retailflow_terraform_backend_config:
  bucket: {BUCKET}
  key: retailflow.tfstate
  region: us-east-1
  encrypt: "true"
  use_lockfile: "true"
  use_path_style: "true" # the emulated API has no names for buckets
retailflow_build_images: false # an engine is another test's business, and the emulated ECR takes no image
dagster_dbt_container_image: 123456789012.dkr.ecr.us-east-1.amazonaws.com/retailflow/dagster-dbt:1
lambda_generator_requirements: {folder}/requirements.txt
lambda_generator_cache_dir: {os.environ.get("UV_CACHE_DIR", ROOT / ".cache/uv")}
retailflow_left_retries: 0 # the emulated API forgets at once
retailflow_ssh_options: {{ProxyCommand: "false"}} # no packet goes to the addresses that the emulated API gives
"""
    )
    return Site(folder, url)

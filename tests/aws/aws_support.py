"""The aws target for tests: the project in a folder of its own, and moto's server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import jinja2
import pytest

import warm_python
from hostile import HOSTILE
from retailflow_emulators.ecs_agent.api import Api
from retailflow_emulators.ecs_agent.settings import Settings
from retailflow_emulators.snowflake.testing import authority
from server_support import ROOT, emulated_aws

BIN = Path(sys.executable).parent
PARTS = (
    "ansible.cfg",
    "inventory",
    "playbooks",
    "roles",
    "library",
    "module_utils",
    "lambda",
    "terraform",
    "site.yml",
    "teardown.yml",
    "tools",
    "docs/policies",
)
# Keys of IAM's users; the administrator stands for the person who opens the account.
ADMINISTRATOR = {"access_key_id": "AKIAQAAAAADMINISTRAT", "secret_access_key": "administrator"}
EC2_KEY = {"access_key_id": "AKIAQAAAAAEC2SERVICE", "secret_access_key": "ec2"}
EVENTS_KEY = {"access_key_id": "AKIAQAAAAAEVENTSERVI", "secret_access_key": "events"}
OPERATOR_KEY = {"access_key_id": "AKIAQAAAAAOPERATOR22", "secret_access_key": "secret-of-the-operator"}
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
# Terraform and its provider spend a quarter of their time on memory that a test need not give back; the limit is per process.
LAZY = {"GOGC": "400", "GOMEMLIMIT": "1500MiB"}
# Not the inventory's own, so that whatever forgets to ask for it is found.
REGION = "eu-central-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": OPERATOR_KEY["access_key_id"],
    "AWS_SECRET_ACCESS_KEY": OPERATOR_KEY["secret_access_key"],
}
# Regions, profiles and settings of other projects in the operator's shell, which must change nothing.
_HOSTILE = {
    name: value
    for name, value in HOSTILE.items()
    if name.startswith(("AWS_", "ANSIBLE_", "TF_", "PYTHON"))
    # What an operator means for AWS, so it counts.
    and name not in ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE")
}
_PROFILES = """[default]
region = us-west-2
[profile somebody-else]
region = us-west-2
aws_access_key_id = AKIASOMEBODYELSE
aws_secret_access_key = of-somebody-else
"""
_MOTO = ROOT / "images/moto"
ACCOUNT = "123456789012"
BUCKET = f"retailflow-state-{ACCOUNT}"
# An address that AWS would see; nothing is ever sent there.
OPERATOR = "52.94.76.9/32"


def policies(site: str = "retailflow", region: str = REGION) -> dict[str, Any]:
    """Return the documents of docs/policies as the inventory renders them, by their name."""
    facts = {
        "retailflow_name": site,
        "retailflow_region": region,
        "retailflow_account_id": ACCOUNT,
        "retailflow_partition": "aws",
        "retailflow_recovery_bucket": BUCKET,
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    return {
        f"{site}-{path.name.split('.')[0]}": json.loads(
            environment.from_string(path.read_text()).render(facts)
        )
        for path in sorted((ROOT / "docs/policies").glob("*.json.j2"))
    }


@contextlib.contextmanager
def moto(folder: Path, enforced: bool = True) -> Iterator[str]:
    """Run moto's server with the settings of the local target's image; yield its address.

    IAM decides about every request, unless `enforced` is false: then every key may do everything. Each triple of caller, action
    and resource that it decided about is a line of `actions.txt` in the folder.
    """
    identities = [
        ADMINISTRATOR | {"name": "administrator", "policies": {"everything": EVERYTHING}},
        OPERATOR_KEY | {"name": "operator", "policies": policies()},
        EC2_KEY | {"name": "ec2.amazonaws.com", "policies": {}},
        EVENTS_KEY | {"name": "events.amazonaws.com", "policies": {}},
    ]
    settings = {
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "MOTO_AMIS_PATH": str(_MOTO / "amis.json"),
        "EMULATED_AWS_IDENTITIES": json.dumps(identities) if enforced else "",
        "EMULATED_AWS_RECORD": str(folder / "actions.txt"),
    }
    with emulated_aws(settings, folder / "moto.log") as url:
        yield url


def agent(url: str, role_arn: str, instance_id: str, cluster: str) -> Api:
    """Return what the emulated agent of a host calls ECS with: by the host's role."""
    return Api(
        Settings(
            cluster=cluster,
            region=REGION,
            endpoint=url,
            access_key=EC2_KEY["access_key_id"],
            secret_key=EC2_KEY["secret_access_key"],
            role_arn=role_arn,
            instance_id=instance_id,
        )
    )


@contextlib.contextmanager
def aws_provider(terraform: Path, data: Path, settings: dict[str, str]) -> Iterator[dict[str, str]]:
    """Run Terraform's provider for AWS once for many commands, each of which would load it for seconds.

    Yields the variable by which Terraform finds it:
    https://developer.hashicorp.com/terraform/plugin/debugging#starting-a-provider-in-debug-mode
    """
    # Without the caller's AWS_*; with a bundle of certificates it can be configured only once.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = ours | settings | LAZY | {"TF_DATA_DIR": str(data)}
    init = ["terraform", f"-chdir={terraform}", "init", "-backend=false", "-input=false"]
    subprocess.run(init, env=environment, check=True, capture_output=True)
    (binary,) = data.glob("providers/*/hashicorp/aws/*/*/terraform-provider-aws*")
    with (
        (data / "provider.log").open("w") as log,
        subprocess.Popen(
            [binary, "-debug"], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as provider,
    ):
        try:
            assert provider.stdout
            line = next(one for one in iter(provider.stdout.readline, "") if "TF_REATTACH_PROVIDERS=" in one)
            yield {"TF_REATTACH_PROVIDERS": line.split("=", 1)[1].strip().strip("'")}
        finally:
            provider.terminate()


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
    #: A provider that runs already, as `aws_provider` gives it.
    attached: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of an operator who confirms, full of settings that are meant for something else."""
        return (
            dict(os.environ)
            | _HOSTILE
            | CREDENTIALS
            | {
                "AWS_CONFIG_FILE": str(self.root / ".state/profiles"),
                "CONFIRM": "yes",
                "TARGET": "aws",
                "PATH": f"{BIN}:{os.environ['PATH']}",
            }
        )

    @property
    def emulated(self) -> dict[str, str]:
        """What leads a client to the emulators."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    def run(self, *command: str, inside: dict[str, str] | None = None, **environment: str) -> Run:
        """Run a command as make does, by tools/clean-env; `inside` is set past it."""
        settings = self.emulated | LAZY | self.attached | (inside or {})
        done = subprocess.run(
            ["tools/clean-env", "env", *(f"{key}={value}" for key, value in settings.items()), *command],
            cwd=self.root,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        return Run(done.returncode == 0, done.stdout + done.stderr)

    def play(self, *arguments: str, hosts: bool = True, **environment: str) -> Run:
        """Run playbooks of the aws target; without `hosts` those that come before AWS can be asked for any."""
        inventory = ("-i", "inventory/aws.aws_ec2.yml") if hosts else ()
        return self.run(
            *warm_python.playbook(), *inventory, "-i", "inventory/aws.yml", *arguments, **environment
        )

    def terraform(self, *arguments: str) -> Run:
        """Run Terraform on this copy's configuration."""
        data = {"TF_DATA_DIR": str(self.root / ".state/aws/terraform")}
        return self.run("terraform", "-chdir=terraform", *arguments, inside=data)

    def client(self, service: str, region: str = REGION) -> Any:
        """Return a client of the emulated API."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=ADMINISTRATOR["access_key_id"],
            aws_secret_access_key=ADMINISTRATOR["secret_access_key"],
        )


def clone(folder: Path, url: str, snowflake_port: int) -> Site:
    """Copy the project and fill in site.yml; Terraform finds its provider as in the project itself."""
    ignored = shutil.ignore_patterns(
        "__pycache__", ".terraform", "*.tfstate*", "backend_override.tf", "imports.tf", "site.yml"
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
    (folder / ".state/profiles").write_text(_PROFILES)
    # The zip's libraries are another test's business.
    (folder / "lambda/requirements.txt").write_text("")
    (folder / "inventory/group_vars/aws/site.yml").write_text(
        f"""---
retailflow_region: {REGION}
retailflow_operator_cidr: {OPERATOR}
retailflow_snowflake_account: retailflow
retailflow_snowflake_host: 127.0.0.1
retailflow_snowflake_port: {snowflake_port}
retailflow_snowflake_authority: {authority()}
snowflake_admin_user: TESTER
snowflake_admin_password: any
ecs_agent_package_checksum: sha256:{"0" * 64}
airbyte_bash_installer_abctl_checksums: {{amd64: {"0" * 64}}}
retailflow_terraform_backend_config:
  bucket: "{{{{ retailflow_state_bucket }}}}"
  key: retailflow.tfstate
  region: {REGION}
  encrypt: "true"
  use_lockfile: "true"
  use_path_style: "true" # the emulated API has no names for buckets
retailflow_build_images: false # an engine is another test's business, and the emulated ECR takes no image
dagster_dbt_container_image: 123456789012.dkr.ecr.{REGION}.amazonaws.com/retailflow/dagster-dbt:1
retailflow_left_retries: 0 # the emulated API forgets at once
retailflow_ssh_options: {{ProxyCommand: "false"}} # no packet goes to the addresses that the emulated API gives
"""
    )
    return Site(folder, url)

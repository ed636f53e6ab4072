"""The aws target's own control-plane tasks against the emulated API, with Terraform's state in S3: made, made again, torn down.

The tests of this file stand on one site and run in order, for making it takes most of the time: two applies, a clean plan and
a destroy to nothing are among them.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.retailflow_volumes import data_volumes
from botocore.exceptions import ClientError
from snowflake.connector.errors import DatabaseError

import site_leftovers
from retailflow_emulators.ecs_agent.api import ApiRefusedError
from retailflow_emulators.snowflake.testing import EmulatedSnowflake, emulated_snowflake

from . import aws_support, policy_lint

# What `make up TARGET=aws` does from the control node; the rest of site.yml needs hosts that answer ssh.
MAKE = ("playbooks/provision.yml", "playbooks/wire.yml", "--limit", "control")
BACKUPS = f"retailflow-backup-{aws_support.ACCOUNT}-{aws_support.REGION}"
PASSWORD = "/retailflow/generator/DB_PASSWORD"
ROLES = ("postgres", "airbyte", "dagster_dbt", "metabase")


@pytest.fixture(scope="module")
def snowflake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedSnowflake]:
    """A company's account: its administrator is ours, not all that is in it."""
    with emulated_snowflake(tmp_path_factory.mktemp("snowflake")) as server:
        yield server


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, snowflake: EmulatedSnowflake
) -> Iterator[aws_support.Site]:
    folder = tmp_path_factory.mktemp("aws")
    (folder / "site").mkdir()
    with aws_support.moto(folder) as url:
        cloned = aws_support.clone(folder / "site", url, snowflake.port)
        (cloned.root / "snowflake.yml").write_text(SNOWFLAKE)
        yield cloned


@pytest.fixture(scope="module")
def made(site: aws_support.Site) -> Iterator[aws_support.Run]:
    """The first run. Terraform starts its provider itself in this one alone."""
    run = site.play(*MAKE)
    assert run.ok, run.text
    settings = site.emulated | aws_support.CREDENTIALS
    settings["TF_CLI_CONFIG_FILE"] = str(site.root / ".state/terraform.rc")
    data = site.root.parent / "provider"
    with aws_support.aws_provider(site.root / "terraform", data, settings) as attached:
        site.attached.update(attached)
        yield run


def leftovers(site: aws_support.Site) -> list[str]:
    """Everything that the API shows with our tag, as the teardown lists it."""
    clients = {service: site.client(service) for service in site_leftovers.SERVICES}
    found: list[str] = site_leftovers.found(clients, "retailflow")
    return found


def without_secrets(found: list[str]) -> list[str]:
    """What is left beside the secrets, which stay with the data."""
    secrets = [one for one in found if one.startswith("ssm parameter/retailflow/")]
    assert secrets
    return [one for one in found if one not in secrets]


def volumes(site: aws_support.Site) -> dict[str, str]:
    """The volumes with data, by role."""
    return {one.role: one.id for one in data_volumes(site.client("ec2"), "retailflow")}


def state_of(site: aws_support.Site) -> dict[str, Any]:
    """Terraform's state, from the bucket."""
    body = site.client("s3").get_object(Bucket=aws_support.BUCKET, Key="retailflow.tfstate")["Body"].read()
    found: dict[str, Any] = json.loads(body)
    return found


def test_nothing_is_made_without_a_yes(site: aws_support.Site) -> None:
    run = site.play("playbooks/preflight.yml", CONFIRM="")
    assert not run.ok
    assert "Say yes, or set CONFIRM=yes" in run.text, run.text
    assert "To be made: the hosts postgres, airbyte, dagster_dbt, metabase" in run.text
    assert re.search(r"\d+\.\d\d  together", run.text), "the monthly cost is said before the question"
    assert leftovers(site) == []


@pytest.mark.parametrize("playbook", ["preflight", "recover"])
@pytest.mark.parametrize(("content", "said"), [(None, "no file"), (" \n", "empty")])
def test_a_passphrase_that_is_not_there_is_refused(
    site: aws_support.Site, tmp_path: Path, playbook: str, content: str | None, said: str
) -> None:
    file = tmp_path / "passphrase"
    if content is not None:
        file.write_text(content)
    run = site.play(f"playbooks/{playbook}.yml", "-e", f"retailflow_recovery_passphrase_file={file}")
    assert not run.ok and run.changed == 0
    assert f"RETAILFLOW_PASSPHRASE_FILE names {file}, which is {said}:" in " ".join(run.text.split()), (
        run.text
    )


def test_what_somebody_else_has_by_our_names_is_refused_before_anything_is_made(
    site: aws_support.Site,
) -> None:
    ecs, sqs = site.client("ecs"), site.client("sqs")
    ecs.create_cluster(clusterName="retailflow")
    cluster = site.play("playbooks/preflight.yml")
    ecs.delete_cluster(cluster="retailflow")
    assert not cluster.ok
    assert "the cluster retailflow exists and lacks the tag Project=retailflow" in cluster.text, cluster.text
    queue = sqs.create_queue(QueueName="retailflow-generator-failed")["QueueUrl"]
    run = site.play("playbooks/preflight.yml")
    sqs.delete_queue(QueueUrl=queue)
    assert not run.ok
    assert "the queue retailflow-generator-failed lack the tag Project=retailflow" in run.text, run.text
    assert leftovers(site) == []


VOLUMES = """---
- hosts: control
  environment: "{{ retailflow_aws_environment }}"
  tasks:
    - site_volumes: {site: retailflow, region: "{{ retailflow_region }}", state: absent}
"""
LISTEN = """---
- hosts: control
  environment: "{{ retailflow_aws_environment }}"
  tasks:
    - ansible.builtin.include_role: {name: ecs-agent, tasks_from: cluster}
- hosts: hosts
  connection: local
  gather_facts: false
  become: true
  become_method: ansible.builtin.su # nothing here runs on a host
  tasks:
    - ansible.builtin.include_role: {name: ecs-agent, tasks_from: listen}
"""
SNOWFLAKE = """---
- hosts: control
  tasks:
    - ansible.builtin.include_role:
        name: snowflake
        tasks_from: "{{ entry | default('main') }}"
"""


def test_somebody_elses_object_with_one_of_our_names_stops_it(
    site: aws_support.Site, snowflake: EmulatedSnowflake
) -> None:
    snowflake.query("create warehouse RETAILFLOW_WAREHOUSE comment = 'the data team'")
    try:
        run = site.play("playbooks/preflight.yml")
        text = " ".join(run.text.split())
        assert not run.ok and "Nothing was changed in Snowflake." in text, run.text
        assert "warehouse RETAILFLOW_WAREHOUSE (comment 'the data team')" in text
        assert (
            "alter warehouse RETAILFLOW_WAREHOUSE set comment = 'managed by retailflow: retailflow';" in text
        )
    finally:
        snowflake.query("drop warehouse RETAILFLOW_WAREHOUSE")
    assert leftovers(site) == [] and not (site.root / ".secrets").exists()


def test_check_mode_works_before_there_is_anything(
    site: aws_support.Site, snowflake: EmulatedSnowflake
) -> None:
    run = site.play("snowflake.yml", "--check")
    assert run.ok and run.changed > 0, run.text
    assert snowflake.query("show databases like 'RETAILFLOW%'") == []
    assert not (site.root / ".secrets/aws/snowflake_dbt.p8").exists()


def test_a_host_listens_to_ecs_for_its_own_container_instance_alone(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    """The entries stay: the tests that follow find nothing to do on them, and remove them in the end."""
    agents, hosts, entries = {}, {}, {}
    filters = [{"Name": "tag:Project", "Values": ["retailflow"]}]
    for reservation in site.client("ec2").describe_instances(Filters=filters)["Reservations"]:
        (host,) = reservation["Instances"]
        name = host["IamInstanceProfile"]["Arn"].rsplit("/", 1)[-1]
        role = f"arn:aws:iam::{aws_support.ACCOUNT}:role/{name}"
        hosts[name] = host["InstanceId"]
        agents[name] = aws_support.agent(site.url, role, hosts[name], "retailflow")

    def register(name: str, **more: str) -> str:
        document = json.dumps({"instanceId": hosts[name]})
        answer = agents[name].call(
            "RegisterContainerInstance", cluster="retailflow", instanceIdentityDocument=document, **more
        )
        return str(answer["containerInstance"]["containerInstanceArn"])

    def listens(name: str, entry: str) -> bool:
        """As one: by both operations or by none."""
        told = set()
        for operation in ("Poll", "StartTelemetrySession"):
            try:
                agents[name].call(operation, cluster="retailflow", containerInstance=entry)
                told.add(True)
            except ApiRefusedError as error:
                assert error.code == "AccessDeniedException" and f"ecs:{operation} on" in error.message
                told.add(False)
        (one,) = told
        return one

    (site.root / "listen.yml").write_text(LISTEN)
    for name in agents:
        entries[name] = register(name)
        assert not listens(name, entries[name]), "nobody has said yet that it is its own"
    for changes in (1, 0):
        run = site.play("listen.yml", "--limit", "control")
        assert run.ok and run.changed == changes, run.text
    heard = {(name, other) for name in agents for other in agents if listens(name, entries[other])}
    assert heard == {(name, name) for name in agents} and len(heard) == len(ROLES)

    # An agent that lost what it knew registers its host once more; and one tries to register somebody else's entry as its own.
    first, second = sorted(agents)[:2]
    again = register(first)
    register(second, containerInstanceArn=entries[first])
    assert not listens(first, again)
    for changes in (1, 0):
        run = site.play("listen.yml", "--limit", "hosts")
        assert run.ok and run.changed == changes, run.text
    assert listens(first, again) and listens(first, entries[first])
    assert not listens(second, again) and not listens(second, entries[first])
    for name in agents:
        policy = site.client("iam").get_role_policy(RoleName=name, PolicyName="listen")["PolicyDocument"]
        assert policy_lint.problems(policy) == []


def test_a_fresh_clone_gets_back_what_it_lacks(
    site: aws_support.Site, made: aws_support.Run, tmp_path: Path
) -> None:
    """That nothing is changed by it is what the next test says."""
    lost = [
        *(site.root / ".secrets/aws").iterdir(),
        *(site.root / ".state/aws/certificates").iterdir(),
        site.root / ".state/aws/outputs.json",
        site.root / "inventory/group_vars/aws/site.yml",
    ]
    before = {path: path.read_bytes() for path in lost}
    for path in lost:
        path.unlink()
    (site.root / ".secrets/aws").rmdir()
    region = f"retailflow_region={aws_support.REGION}"
    run = site.play("playbooks/recover.yml", "-e", region, hosts=False)
    if not run.ok:  # the tests that follow need them
        (site.root / ".secrets/aws").mkdir(exist_ok=True)
        for path, content in before.items():
            path.write_bytes(content)
    assert run.ok, run.text
    assert {path: path.read_bytes() for path in lost} == before
    assert {path.stat().st_mode & 0o777 for path in (site.root / ".secrets/aws").iterdir()} == {0o600}


def test_a_second_run_changes_nothing(site: aws_support.Site, made: aws_support.Run) -> None:
    assert made.changed > 0
    run = site.play(*MAKE)
    assert run.ok, run.text
    assert run.changed == 0, run.text


def test_snowflake_holds_what_the_site_needs_and_keys_are_exchanged(
    site: aws_support.Site, made: aws_support.Run, snowflake: EmulatedSnowflake
) -> None:
    key = site.root / ".secrets/aws/snowflake_dbt.p8"
    old = key.with_name("old.p8")
    key.rename(old)
    run = site.play("snowflake.yml")
    assert run.ok and run.changed == 3, f"the key, what is derived from it, and Snowflake:\n{run.text}"

    def role_with(file: Path) -> str:
        login = {"user": "RETAILFLOW_DBT", "private_key_file": str(file), "password": None}
        with snowflake.connect(**login, role="RETAILFLOW_TRANSFORMER") as session:
            cursor = session.cursor().execute("select current_role()")
            assert cursor
            return str(cursor.fetchall()[0][0])

    assert role_with(key) == role_with(old) == "RETAILFLOW_TRANSFORMER"
    run = site.play("snowflake.yml", "-e", "entry=retire")
    assert run.ok and run.changed == 1, run.text
    assert role_with(key) == "RETAILFLOW_TRANSFORMER"
    with pytest.raises(DatabaseError, match="390144"):
        role_with(old)
    old.unlink()


def test_the_state_is_in_the_bucket_and_nothing_is_to_do(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    key = " ".join((site.root / ".secrets/aws/id_ed25519.pub").read_text().split()[:2])
    variables = [
        f"-var=operator_cidr={aws_support.OPERATOR}",
        f"-var=public_key={key}",
        f"-var=region={aws_support.REGION}",
    ]
    plan = site.terraform("plan", "-detailed-exitcode", "-input=false", *variables)
    assert plan.ok, plan.text
    objects = site.client("s3").list_objects_v2(Bucket=aws_support.BUCKET)["Contents"]
    keys = [one["Key"] for one in objects]
    assert keys == ["retailflow.recovery", "retailflow.tfstate"], "no lock is left behind"
    assert not (site.root / ".state/aws/terraform.tfstate").exists()
    state = json.dumps(state_of(site))
    secrets = [
        path.read_text().strip() for path in (site.root / ".secrets/aws").iterdir() if path.suffix != ".pub"
    ]
    assert secrets and not [one for one in secrets if one[:64] in state or json.dumps(one)[1:-1] in state]


def test_a_region_in_the_environment_changes_nothing(site: aws_support.Site, made: aws_support.Run) -> None:
    """Profiles and variables of the shell name other regions; the inventory's is used by every client."""
    found = [one["RegionName"] for one in site.client("ec2").describe_regions()["Regions"]]
    # No key of this partition is known in another one.
    regions = [one for one in found if not one.startswith(("cn-", "us-gov-"))]
    held = {}
    for region in regions:
        ec2 = site.client("ec2", region)
        filters = [{"Name": "tag:Project", "Values": ["retailflow"]}]
        queues = site.client("sqs", region).list_queues().get("QueueUrls", [])
        held[region] = [*ec2.describe_instances(Filters=filters)["Reservations"], *queues]
    assert [region for region, found in held.items() if found] == [aws_support.REGION]
    assert f"AWS_REGION={aws_support.REGION}\n" in (site.root / ".env").read_text()


def test_the_key_of_a_host_is_known_by_its_instance(site: aws_support.Site, made: aws_support.Run) -> None:
    """A host that was made again has another ssh key at the same address; people and playbooks accept it alike."""
    instances = re.findall(r"_INSTANCE_ID=(i-\w+)", (site.root / ".env").read_text())
    settings = (site.root / ".state/aws/ssh_config").read_text()
    assert len(instances) == len(ROLES)
    assert sorted(re.findall(r"HostKeyAlias (\S+)", settings)) == sorted(instances)
    (site.root / "options.yml").write_text(
        "---\n- hosts: hosts\n  connection: local\n  tasks:\n    - ansible.builtin.debug: {var: ansible_ssh_common_args}\n"
    )
    run = site.play("options.yml")
    assert sorted(re.findall(r"-o HostKeyAlias=(\S+)", run.text)) == sorted(instances), run.text


def test_no_host_lacks_a_variable(site: aws_support.Site, made: aws_support.Run) -> None:
    """Everything that the aws inventory says of a host can be resolved, so a first run meets no undefined variable."""
    (site.root / "resolve.yml").write_text(
        """---
- hosts: hosts
  connection: local
  tasks:
    - ansible.builtin.debug:
        msg: "{{ query('ansible.builtin.vars', *names) | length }}"
      vars:
        names: "{{ query('ansible.builtin.varnames', '^(retailflow|postgres|metabase|dagster|airbyte|ecs)_') }}"
"""
    )
    # Airbyte makes them on its host.
    credentials = {"airbyte_bash_installer_credentials": {"client_id": "id", "client_secret": "secret"}}
    run = site.play("resolve.yml", "-e", json.dumps(credentials))
    assert run.ok, run.text
    assert len(re.findall(r"retailflow-\S+ +: ok=1 ", run.text)) == len(ROLES), run.text


def test_the_function_is_limited_watched_and_inside_the_vpc(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    run = site.play("playbooks/print_lambda.yml")
    assert run.ok, run.text
    text = (site.root / ".state/aws/lambda.txt").read_text()
    outputs = json.loads((site.root / ".state/aws/outputs.json").read_text())
    for words in (
        "at most 120 s",
        outputs["subnet_id"],
        outputs["security_group_ids"]["lambda"],
        "rate(3 minutes)\n",
        "at a time   1\n",
        "2 more tries within 3600 s, then retailflow-generator-failed (0 there)",
        "retailflow-generator-errors, ",
        "/aws/lambda/retailflow-generator, 14 days",
        "retailflow_generator/handler.py",
        f"DB_PASSWORD_PARAMETER    {PASSWORD}\n",
        f"AWS_ENDPOINT_URL_SSM     {outputs['ssm_endpoint']}\n",
    ):
        assert words in text, text
    assert (site.root / ".secrets/aws/db_generator").read_text().strip() not in text + run.text
    iam = site.client("iam")
    policy = iam.get_role_policy(RoleName="retailflow-generator", PolicyName="generator")["PolicyDocument"]
    assert [one["Sid"] for one in policy["Statement"] if one["Resource"] == "*"] == ["JoinItsNetwork"]
    assert iam.list_attached_role_policies(RoleName="retailflow-generator")["AttachedPolicies"] == []


def test_the_password_of_the_function_is_a_parameter_that_it_alone_reads(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    """Its role, and the policy of the endpoint that is its only way out, name that parameter and nothing else of SSM."""
    variables = site.client("lambda").get_function_configuration(FunctionName="retailflow-generator")
    assert "DB_PASSWORD" not in variables["Environment"]["Variables"]
    found = site.client("ssm").get_parameter(Name=PASSWORD, WithDecryption=True)["Parameter"]
    assert found["Type"] == "SecureString"
    assert found["Value"] == (site.root / ".secrets/aws/db_generator").read_text().strip()
    iam = site.client("iam")
    policy = iam.get_role_policy(RoleName="retailflow-generator", PolicyName="generator")["PolicyDocument"]
    (reads,) = [one for one in policy["Statement"] if "ssm" in json.dumps(one["Action"])]
    assert policy_lint.problems(policy | {"Statement": [reads]}) == []
    assert reads["Action"] == ["ssm:GetParameter"]
    assert reads["Resource"] == f"arn:aws:ssm:*:{aws_support.ACCOUNT}:parameter{PASSWORD}"
    (endpoint,) = site.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    outputs = json.loads((site.root / ".state/aws/outputs.json").read_text())
    assert outputs["ssm_endpoint"] == f"https://{endpoint['DnsEntries'][0]['DnsName']}"
    assert [one["GroupId"] for one in endpoint["Groups"]] == [outputs["security_group_ids"]["ssm"]]
    assert not endpoint["PrivateDnsEnabled"], "the agents of the hosts read secrets of services past it"
    (lets,) = json.loads(endpoint["PolicyDocument"])["Statement"]
    assert lets["Action"] == "ssm:GetParameter"
    assert fnmatch.fnmatch(found["ARN"], lets["Resource"]), (found["ARN"], lets["Resource"])
    role = iam.get_role(RoleName="retailflow-generator")["Role"]["Arn"]
    assert lets["Condition"] == {"ArnEquals": {"aws:PrincipalArn": role}}


def test_a_function_of_the_release_before_loses_its_password(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    functions, ssm, name = site.client("lambda"), site.client("ssm"), "retailflow-generator"
    wanted = functions.get_function_configuration(FunctionName=name)["Environment"]
    old = {
        key: value
        for key, value in wanted["Variables"].items()
        if "SSM" not in key and "PARAMETER" not in key
    }
    old["DB_PASSWORD"] = (site.root / ".secrets/aws/db_generator").read_text().strip()
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": old})
    ssm.delete_parameter(Name=PASSWORD)
    run = site.play("playbooks/wire.yml", "--limit", "control")
    assert run.ok and run.changed == 2, f"the parameter and the function:\n{run.text}"
    assert run.text.index("Keep the password") < run.text.index("Deploy the function")
    assert functions.get_function_configuration(FunctionName=name)["Environment"] == wanted
    assert ssm.get_parameter(Name=PASSWORD, WithDecryption=True)["Parameter"]["Value"] == old["DB_PASSWORD"]
    assert old["DB_PASSWORD"] not in run.text


def test_everything_carries_our_tag(site: aws_support.Site, made: aws_support.Run) -> None:
    found = leftovers(site)
    kinds = {re.split(r"[/: ]", one)[0] + " " + re.split(r"[/: ]", one)[1] for one in found}
    for kind in (
        "cloudwatch alarm",
        "ec2 elastic-ip",
        "ec2 instance",
        "ec2 internet-gateway",
        "ec2 key-pair",
        "ec2 network-interface",
        "ec2 route-table",
        "ec2 security-group",
        "ec2 subnet",
        "ec2 volume",
        "ec2 vpc",
        "ec2 vpc-endpoint",
        "ecr repository",
        "ecs cluster",
        "events rule",
        "iam instance-profile",
        "iam role",
        "lambda function",
        "logs log-group",
        "sqs retailflow-generator-failed",
        "ssm parameter",
    ):
        assert kind in kinds, found
    assert sum(one.startswith("ec2 instance ") for one in found) == len(ROLES)
    assert sum(one.startswith("iam role ") for one in found) == len(ROLES) + 1, (
        "a host each, and the generator"
    )
    managed = [one for one in state_of(site)["resources"] if one["mode"] == "managed"]
    for resource in managed:
        for one in resource["instances"]:
            tags = one["attributes"].get("tags_all", {"Project": "retailflow"})
            assert tags["Project"] == "retailflow", resource["type"]


def test_hosts_may_do_what_their_role_needs(site: aws_support.Site, made: aws_support.Run) -> None:
    iam = site.client("iam")
    pulls = {}
    for role in ROLES:
        name = f"retailflow-{role.replace('_', '-')}"
        assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
        policy = iam.get_role_policy(RoleName=name, PolicyName="host")["PolicyDocument"]
        pulls[role] = [one["Resource"] for one in policy["Statement"] if one["Sid"] == "PullItsImage"]
        assert f"/retailflow/{role}/*" in json.dumps(policy)
        assert policy_lint.problems(policy) == []
    assert [role for role, found in pulls.items() if found] == ["airbyte", "dagster_dbt"]


def test_nothing_is_removed_without_the_name_of_the_site(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    before = leftovers(site)
    run = site.play("teardown.yml", CONFIRM="yes")
    assert not run.ok
    text = " ".join(run.text.split())
    assert "Nothing was changed. Type the name of the site, or set CONFIRM=retailflow" in text, run.text
    assert "with these hosts: retailflow-airbyte, retailflow-dagster-dbt" in text, (
        "what will be lost is said first"
    )
    assert "Snowflake keeps everything." in text
    assert "connections stay and go on costing: the next make up finds them." in text
    assert "The bucket of the backups stays" in text
    assert leftovers(site) == before


def test_teardown_takes_a_half_made_site_and_lists_what_it_cannot_know(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    # Parts that are already gone: a rule, a host, a key. Somebody else's network, and something of ours that no state knows.
    events, ec2 = site.client("events"), site.client("ec2")
    events.remove_targets(Rule="retailflow-generator-schedule", Ids=["generator"])
    events.delete_rule(Name="retailflow-generator-schedule")
    filters = [
        {"Name": "tag:Role", "Values": ["metabase"]},
        {"Name": "instance-state-name", "Values": ["running"]},
    ]
    host = ec2.describe_instances(Filters=filters)["Reservations"][0]["Instances"][0]
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[host["InstanceId"]])
    ec2.modify_instance_attribute(InstanceId=host["InstanceId"], DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[host["InstanceId"]])
    (site.root / ".secrets/aws/id_ed25519.pub").unlink()
    others_vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Project", "Value": "retailflow"}]}]
    lost = ec2.create_volume(AvailabilityZone=f"{aws_support.REGION}a", Size=8, TagSpecifications=tags)[
        "VolumeId"
    ]

    kept = volumes(site)
    assert set(kept) == {"postgres", "airbyte"}
    run = site.play("teardown.yml", CONFIRM="retailflow")
    assert not run.ok, "something is left"
    assert f"Still there with the tag Project=retailflow: ec2 volume {lost}." in " ".join(run.text.split()), (
        run.text
    )
    assert re.search(r"retailflow-postgres +: .*failed=0", run.text), (
        "a host that does not answer is passed over"
    )
    assert volumes(site) == kept, "what holds data stays"
    assert f"ssm parameter{PASSWORD}" not in leftovers(site), "the function's is not among what is kept"
    assert without_secrets(leftovers(site)) == sorted(f"ec2 volume {one}" for one in [lost, *kept.values()])
    assert others_vpc in [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]], "what is not ours stays"
    ec2.delete_volume(VolumeId=lost)


def test_teardown_works_a_second_time_and_says_what_stays(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    kept = volumes(site)
    run = site.play("teardown.yml", CONFIRM="retailflow")
    assert run.ok, run.text
    text = " ".join(run.text.split())
    for role, size, price in (("postgres", 30, "2.40"), ("airbyte", 60, "4.80")):
        words = f"The volume {kept[role]} with the data of {role} stays in the zone {aws_support.REGION}a: {size} GB, {price} USD"
        assert words in text, run.text
    assert f"The bucket {BACKUPS} stays" in text
    assert without_secrets(leftovers(site)) == sorted(f"ec2 volume {one}" for one in kept.values())
    assert state_of(site)["resources"] == []
    for path in (".state/aws", ".env", "terraform/backend_override.tf"):
        assert not (site.root / path).exists(), path


def test_the_next_site_stands_on_the_volumes_and_secrets_that_were_kept(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    kept = volumes(site)
    shutil.rmtree(site.root / ".secrets/aws")
    run = site.play(*MAKE)
    assert run.ok, run.text
    again = f"on the volumes {kept['airbyte']} of airbyte, 60 GB"
    assert again in " ".join(run.text.split()), "it is said before the question"
    assert volumes(site) == kept
    found = site.client("ec2").describe_volumes(VolumeIds=list(kept.values()))["Volumes"]
    assert len({one["Attachments"][0]["InstanceId"] for one in found}) == 2
    assert (site.root / ".secrets/aws/backup_key").exists(), "backups of the earlier site can be read"


def test_volumes_and_backups_go_when_they_are_named(site: aws_support.Site, made: aws_support.Run) -> None:
    s3 = site.client("s3")
    for body in (b"first", b"second"):
        s3.put_object(Bucket=BACKUPS, Key="1/base/a.tar.gz.age", Body=body)
    named = ("-e", "retailflow_volumes_remove=true", "-e", "retailflow_backup_remove=true")
    run = site.play("teardown.yml", *named, CONFIRM="retailflow")
    assert run.ok, run.text
    text = " ".join(run.text.split())
    assert "connections are REMOVED" in text and "backups is REMOVED" in text
    assert leftovers(site) == [] and volumes(site) == {}
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == [aws_support.BUCKET]


def test_volumes_that_no_state_knows_go_when_they_are_named(
    site: aws_support.Site, made: aws_support.Run
) -> None:
    marks = {"Project": "retailflow", "Role": "postgres", "Name": "retailflow-postgres-data"}
    tags = [{"Key": key, "Value": value} for key, value in marks.items()]
    site.client("ec2").create_volume(
        AvailabilityZone=f"{aws_support.REGION}a",
        Size=8,
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
    )
    (site.root / "playbooks/volumes.yml").write_text(VOLUMES)  # where Ansible finds the module
    for check, left in (("--check", {"postgres"}), ("--diff", set())):
        run = site.play("playbooks/volumes.yml", check)
        assert run.ok and run.changed == 1, run.text
        assert set(volumes(site)) == left


# What this file's runs do not ask for, or moto does not know, and when it is needed.
UNSEEN = {
    "an image is built and pushed": {
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
    },
    "the generator is invoked, paused, or has been changed": {
        "events:DisableRule",
        "lambda:GetFunctionConfiguration",
        "lambda:DeleteFunctionConcurrency",
        "lambda:DeleteFunctionEventInvokeConfig",
        "lambda:InvokeFunction",
        "lambda:RemovePermission",
        "lambda:UpdateFunctionCode",
        "lambda:UpdateFunctionConfiguration",
        "sqs:SetQueueAttributes",
    },
    "a service fails by ECS": {"logs:GetLogEvents"},
    "PostgreSQL is backed up": {
        "s3:CreateBucket",
        "s3:GetBucketTagging",
        "s3:GetLifecycleConfiguration",
        "s3:PutBucketTagging",
        "s3:PutBucketVersioning",
        "s3:PutLifecycleConfiguration",
    },
    "a site with its schedule is removed": {"events:DeleteRule", "events:RemoveTargets"},
    "hosts are paused, change, or keep their data on volumes": {
        "ec2:AttachVolume",
        "ec2:CreateVolume",
        "ec2:DeleteVolume",
        "ec2:DescribeTags",
        "ec2:DescribeVolumesModifications",
        "ec2:DetachVolume",
        "ec2:ModifyNetworkInterfaceAttribute",
        "ec2:ModifySecurityGroupRules",
        "ec2:ModifyVpcEndpoint",
        "ec2:ModifyVolume",
        "ec2:StartInstances",
        "ec2:StopInstances",
        "iam:UpdateAssumeRolePolicy",
    },
    "services run by ECS, and its agents": {
        "ecs:CreateService",
        "ecs:DeleteService",
        "ecs:DeregisterContainerInstance",
        "ecs:DeregisterTaskDefinition",
        "ecs:DescribeContainerInstances",
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:DescribeTasks",
        "ecs:ListTaskDefinitions",
        "ecs:RegisterTaskDefinition",
        "ecs:UpdateContainerInstancesState",
        "ecs:UpdateService",
        "ssm:AddTagsToResource",
        "ssm:DeleteParameter",
        "ssm:DeleteParameters",
        "ssm:ListTagsForResource",
        "ssm:PutParameter",
    },
    "AWS asks by itself, or moto lacks the operation": {
        "iam:CreateServiceLinkedRole",
        "lambda:GetAccountSettings",
    },
}


def test_the_policies_hold_nothing_that_is_not_used(site: aws_support.Site, made: aws_support.Run) -> None:
    lines = [line.split() for line in (site.root.parent / "actions.txt").read_text().splitlines()]
    asked = {action for caller, action, *_ in lines if caller == "user/operator"}
    named = {
        action
        for document in aws_support.policies().values()
        for statement in document["Statement"]
        for action in policy_lint.each(statement["Action"])
    }
    unseen = set().union(*UNSEEN.values())
    assert named - asked - unseen == set(), "nothing asks for these"
    assert unseen - named == set(), "no policy holds these"

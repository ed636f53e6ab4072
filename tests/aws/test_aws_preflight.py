"""The preflight of the aws target: what stands in the way is named, what it costs is added up, and the docs say the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import aws_preflight as preflight
import costs
import moto_support

HOSTS: dict[str, Any] = {
    "db": {"instance_type": "t3.medium", "volume_gb": 30},
    "web_app": {"instance_type": "t3.small", "volume_gb": 10},
}
PRICES: dict[str, Any] = {
    "as_of": "2020-01",
    "region": "us-east-1",
    "currency": "USD",
    "hours_a_month": 100,
    "instance_hour": {"t3.medium": 0.04, "t3.small": 0.02},
    "disk_gb_month": 0.1,
    "address_hour": 0.01,
    "other": [{"what": "a queue", "month": 0.5}],
}
SERVICES = ("sts", "ec2", "iam", "lambda", "service-quotas", "s3")


@pytest.fixture
def account() -> Iterator[Any]:
    with moto_support.account(*SERVICES) as clients:
        yield preflight.Account(clients, "shop", HOSTS, "us-east-1")


@pytest.mark.parametrize("cidr", ["52.94.76.9/32", "52.94.0.0/16"])
def test_a_public_network_is_taken(cidr: str) -> None:
    assert preflight.check_cidr(cidr) == []


@pytest.mark.parametrize(
    ("cidr", "reason"),
    [
        ("0.0.0.0/0", "never opened to the world"),
        ("128.0.0.0/1", "never opened to the world"),
        ("2001:db8::/32", "not an IPv4 network"),
        ("192.168.1.0/24", "private or reserved"),
        ("203.0.113.7/32", "private or reserved"),  # the value of site.example.yml.txt
        ("52.94.76.9/24", "has host bits set"),
        ("my office", "does not appear to be"),
    ],
)
def test_any_other_network_is_refused_with_the_reason(cidr: str, reason: str) -> None:
    (problem,) = preflight.check_cidr(cidr)
    assert reason in problem


METER: dict[str, Any] = {
    "credit": 2.0,
    "credits_an_hour": {"XSMALL": 1, "SMALL": 2},
    "cycle_seconds": [60, 240],
    "other_wakes_a_day": [0, 0],
    "other_seconds": [5, 30],
}
WAREHOUSE = {"size": "XSMALL", "auto_suspend": 60, "warehouses": 1, "cycle_minutes": 30}


def test_the_cost_is_added_up() -> None:
    lines = preflight.cost_lines(HOSTS, PRICES | {"snowflake": METER}, "us-east-1", WAREHOUSE)
    assert [" ".join(line.split()) for line in lines] == [
        "least most",
        "4.00 4.00 db: t3.medium",
        "2.00 2.00 web_app: t3.small",
        "4.00 4.00 40 GB of gp3",
        "2.00 2.00 2 public addresses",
        "0.50 0.50 a queue",
        "13.33 36.67 Snowflake: 7 to 18 credits, a cycle every 30 minutes",
        "25.83 49.17 together",
        "USD a month, prices of us-east-1, as of 2020-01",
    ]
    assert "Snowflake" not in "".join(preflight.cost_lines(HOSTS, PRICES, "us-east-1")), (
        "where it is left out"
    )


@pytest.mark.parametrize(
    ("changes", "meter", "least", "most"),
    [
        # Twice an hour, a minute of work and a minute until it is suspended; at most four minutes, one, and half a one.
        ({}, {}, 2 * 120, 2 * 330),
        ({"cycle_minutes": 60}, {}, 120, 330),
        ({"cycle_minutes": 1}, {}, 3600, 3600),  # never idle for long enough
        ({"cycle_minutes": 5}, {}, 12 * 120, 3600),
        ({"size": "small"}, {}, 2 * 2 * 120, 2 * 2 * 330),
        ({"warehouses": 2}, {}, 2 * 2 * 90, 2 * 2 * 210),  # the work is shared, the wait is not
        ({"auto_suspend": 0}, {}, 3600, 3600),  # never suspended
        ({"auto_suspend": 1}, {"cycle_seconds": [1, 10]}, 2 * 60, 2 * 60),  # at least a minute
        (
            {},
            {"cycle_seconds": [0, 0], "other_wakes_a_day": [24, 24]},
            120 + 65 * 58 / 60,
            180 + 120 * 57 / 60,
        ),
    ],
)
def test_credits_are_those_of_snowflakes_meter(
    changes: dict[str, Any], meter: dict[str, Any], least: float, most: float
) -> None:
    found = preflight.credits_a_month(WAREHOUSE | changes, METER | meter, hours=10)
    assert found == pytest.approx((least / 360, most / 360))


def test_what_the_table_does_not_know_is_said() -> None:
    hosts = HOSTS | {"big": {"instance_type": "x9.huge", "volume_gb": 0}}
    lines = preflight.cost_lines(hosts, PRICES, "eu-west-1")
    assert any("x9.huge, not in the price table" in line for line in lines)
    odd = preflight.cost_lines(
        HOSTS, PRICES | {"snowflake": METER}, "us-east-1", WAREHOUSE | {"size": "X6LARGE"}
    )
    assert odd[-2].endswith("together, at least") and "X6LARGE, not in the price table" in odd[-3]
    assert lines[-2].endswith("together, at least")
    assert "prices of us-east-1, not of eu-west-1" in lines[-1]


def test_the_docs_say_what_the_preflight_says() -> None:
    assert costs.rendered() == costs.PAGE.read_text(encoding="utf-8"), "run tools/costs.py --write"
    assert "not in the price table" not in costs.table(), "every instance type of the inventory has its price"


def test_hosts_that_are_there_are_not_made_again(account: Any) -> None:
    ec2 = account.clients["ec2"]
    assert account.instances() == (set(), 0)
    tags = [{"Key": "Project", "Value": "shop"}, {"Key": "Role", "Value": "db"}]
    image = ec2.register_image(Name="an image of ours")["ImageId"]
    ec2.run_instances(
        ImageId=image,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    roles, vcpus = account.instances()
    assert roles == {"db"} and vcpus > 0
    assert account.problems == []


@pytest.mark.parametrize("shared", [{"Role": "db"}, {"Name": "shop-db"}])
def test_two_instances_of_one_name_or_role_are_refused_by_their_ids(
    account: Any, shared: dict[str, str]
) -> None:
    ec2 = account.clients["ec2"]
    image = ec2.register_image(Name="an image of ours")["ImageId"]
    tags = [{"Key": key, "Value": value} for key, value in ({"Project": "shop"} | shared).items()]
    made = ec2.run_instances(
        ImageId=image,
        MinCount=2,
        MaxCount=2,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"]
    first, second = sorted(one["InstanceId"] for one in made)
    ec2.stop_instances(InstanceIds=[second])
    account.instances()
    (problem,) = account.problems
    assert f"{first} running, {second} stopped" in problem and "tag Project" in problem


def test_a_region_without_image_or_size_is_named(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "true")  # so that there are others
    monkeypatch.setattr(preflight, "IMAGE", "debian-99-*")
    assert account.image() == ""
    assert account.sizes({"t3.medium", "x9.huge"}) == {"t3.medium": 2}
    assert ["Debian has published no image debian-99-*" in account.problems[0]] == [True]
    assert "offers no x9.huge" in account.problems[1]


# --- zones: moto offers everything nearly everywhere, so these are said -----------------------------------------------------


@pytest.fixture
def zoned(account: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set which types each zone of the account offers, in any order."""

    def offer(**zones: set[str]) -> Any:
        names = {f"us-east-1{letter}": kinds for letter, kinds in zones.items()}
        ec2 = account.clients["ec2"]
        listed = [{"ZoneName": name} for name in names]
        monkeypatch.setattr(ec2, "describe_availability_zones", lambda **_: {"AvailabilityZones": listed})
        pages = [
            {"InstanceTypeOfferings": [{"Location": name, "InstanceType": kind} for kind in sorted(kinds)]}
            for name, kinds in names.items()
        ]
        paginator = type("Paginator", (), {"paginate": lambda self, **_: pages})
        real = ec2.get_paginator
        said = {"describe_instance_type_offerings": paginator()}
        monkeypatch.setattr(ec2, "get_paginator", lambda call: said.get(call) or real(call))
        return account

    return offer


BOTH = {"t3.medium", "t3.small"}


def stand(account: Any, zone: str) -> None:
    ec2 = account.clients["ec2"]
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    tags = [{"ResourceType": "subnet", "Tags": [{"Key": "Project", "Value": "shop"}]}]
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone=zone, TagSpecifications=tags)


def test_the_first_zone_that_offers_every_type_is_chosen_in_any_order(zoned: Any) -> None:
    for zones in ({"c": BOTH, "a": {"t3.small"}, "b": BOTH}, {"b": BOTH, "c": BOTH, "a": {"t3.small"}}):
        account = zoned(**zones)
        assert account.zone("") == "us-east-1b"
        assert account.zone("us-east-1c") == "us-east-1c"
        assert account.problems == []


def test_a_site_stays_in_its_zone_whatever_the_others_offer(zoned: Any) -> None:
    account = zoned(a=BOTH, c=BOTH)
    stand(account, "us-east-1c")
    assert account.zone("") == account.zone("us-east-1c") == "us-east-1c"
    assert account.problems == []
    account.zone("us-east-1a")
    assert "stands in the zone us-east-1c and stays there" in account.problems[0]


def keep(account: Any, role: str, zone: str, **tags: str) -> str:
    marks = {"Project": "shop", "Role": role, "Name": f"shop-{role.replace('_', '-')}-data"} | tags
    specification = [
        {"ResourceType": "volume", "Tags": [{"Key": key, "Value": value} for key, value in marks.items()]}
    ]
    ec2 = account.clients["ec2"]
    return str(ec2.create_volume(AvailabilityZone=zone, Size=30, TagSpecifications=specification)["VolumeId"])


def test_a_new_site_goes_to_the_zone_of_the_volumes_that_were_kept(zoned: Any) -> None:
    account = zoned(a=BOTH, b=BOTH)
    volume = keep(account, "db", "us-east-1b")
    keep(account, "db", "us-east-1a", Name="a copy")
    keep(account, "db", "us-east-1a", Project="other")
    keep(account, "gone", "us-east-1a")
    volumes = account.volumes()
    assert [(one.id, one.role, one.gb, one.instance) for one in volumes] == [(volume, "db", 30, "")]
    assert account.zone("", volumes) == "us-east-1b" and account.problems == []
    account.zone("us-east-1a", volumes)
    assert "stands in the zone us-east-1b and stays there, with its data" in account.problems[0]
    plan = preflight.plan_lines("1", "a", "r", "i", ["db"], [], [], volumes)
    assert f"on the volumes {volume} of db, 30 GB in us-east-1b" in plan[3]
    assert "volumes" not in "".join(preflight.plan_lines("1", "a", "r", "i", [], [], [], volumes)), (
        "hosts that are there have them already"
    )


def test_volumes_of_which_nobody_knows_the_right_one_stop_it(zoned: Any) -> None:
    account = zoned(a=BOTH, b=BOTH)
    two = sorted(keep(account, "db", "us-east-1a") for _ in range(2))
    keep(account, "web_app", "us-east-1b")
    account.volumes()
    assert f"volumes: there are 2 with the data of db: {two[0]}, {two[1]}" in account.problems[0]
    assert "hosts stand in one zone" in account.problems[1]


def test_a_type_that_the_zone_lacks_is_named_with_the_zones_that_have_it(zoned: Any) -> None:
    account = zoned(a={"t3.small"}, b={"t3.medium"}, c={"t3.medium"})
    account.zone("")
    (problem,) = account.problems
    assert "the zone us-east-1a offers no t3.medium, only us-east-1b, us-east-1c do" in problem
    assert "retailflow_zone" in problem


def test_a_type_that_the_zone_of_the_site_lacks_cannot_be_had_by_moving(zoned: Any) -> None:
    account = zoned(a=BOTH, b={"t3.small"})
    stand(account, "us-east-1b")
    account.zone("")
    (problem,) = account.problems
    assert "the zone us-east-1b offers no t3.medium, only us-east-1a do" in problem
    assert "retailflow_zone" not in problem


def test_a_zone_of_another_region_is_refused(zoned: Any) -> None:
    account = zoned(a=BOTH)
    account.zone("eu-west-1a")
    assert "has the zones us-east-1a, not eu-west-1a" in account.problems[0]


class Quotas:
    """Stands for Service Quotas, of which moto knows little."""

    def __init__(self, **limits: float) -> None:
        self.limits = limits

    def get_service_quota(self, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        return {"Quota": {"Value": self.limits[QuotaCode.replace("-", "_")]}}


def test_quotas_that_do_not_suffice_are_named_with_their_code(account: Any) -> None:
    account.clients["service-quotas"] = Quotas(L_1216C47A=5.0, L_0263D0A3=1.0, L_F678F1CE=5.0)
    account.quotas(["db", "web_app"], 2, {"t3.medium": 2, "t3.small": 2})
    vcpus, addresses = account.problems
    assert "4 more vCPUs of running standard instances are needed, 2 of 5 are in use" in vcpus
    assert "ec2, L-1216C47A" in vcpus
    assert "2 more elastic addresses are needed, 0 of 1 are in use" in addresses


def test_quotas_that_suffice_or_cannot_be_read_are_no_problem(account: Any) -> None:
    account.quotas(["db"], 0, {"t3.medium": 2})
    assert account.problems == []
    assert any("vCPUs" in note and "could not be checked" in note for note in account.notes)


class Lambda:
    """Stands for Lambda's account settings, which moto does not have."""

    def __init__(self, limit: int, reserved: int = 0) -> None:
        self.limit, self.reserved = limit, reserved

    def get_function_concurrency(self, FunctionName: str) -> dict[str, int]:
        return {"ReservedConcurrentExecutions": self.reserved}

    def get_account_settings(self) -> dict[str, Any]:
        free = self.limit - self.reserved
        limits = {"ConcurrentExecutions": self.limit, "UnreservedConcurrentExecutions": free}
        return {"AccountLimit": limits}


@pytest.mark.parametrize(
    ("limit", "reserved", "wanted", "problems"),
    [(10, 0, 1, 1), (10, 0, 0, 0), (11, 0, 1, 0), (11, 1, 1, 0), (1000, 0, 1, 0)],
)
def test_a_new_account_cannot_reserve_an_invocation(
    account: Any, limit: int, reserved: int, wanted: int, problems: int
) -> None:
    account.clients["lambda"] = Lambda(limit, reserved)
    account.concurrency(wanted)
    assert len(account.problems) == problems
    assert all("retailflow_generator_concurrency" in one for one in account.problems)


def test_names_that_others_hold_are_found_before_terraform_stops_at_them(account: Any) -> None:
    account.untagged()
    assert account.problems == []
    account.clients["ec2"].create_key_pair(KeyName="shop")
    account.clients["iam"].create_role(RoleName="shop-web-app", AssumeRolePolicyDocument="{}")
    account.clients["iam"].create_role(
        RoleName="shop-db", AssumeRolePolicyDocument="{}", Tags=[{"Key": "Project", "Value": "shop"}]
    )
    account.untagged()
    (problem,) = account.problems
    assert "the key pair shop" in problem and "the IAM role shop-web-app" in problem
    assert "shop-db" not in problem


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICqbUMKcT1zzbxUfKcSXhSBBCmaLQZ0mmnCqMHwG5Zce"


def test_a_clone_with_other_secrets_is_told_before_anything_is_replaced(account: Any) -> None:
    account.same_key("")
    account.same_key(KEY)
    assert account.problems == [], "there is no site yet"
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": "Project", "Value": "shop"}]}]
    account.clients["ec2"].import_key_pair(
        KeyName="shop", PublicKeyMaterial=f"{KEY} shop operator".encode(), TagSpecifications=tags
    )
    account.same_key(f"{KEY} shop operator\n")
    account.same_key(f"{KEY} another comment\n")
    assert account.problems == []
    account.same_key("")
    account.same_key(KEY[:-2] + "aa")
    empty, other = account.problems
    assert "which has none; copy the folder .secrets/aws" in empty
    assert "than the one of this clone; copy" in other


def test_the_bucket_of_terraforms_state_must_be_there(account: Any) -> None:
    account.bucket("nowhere-to-be-found")
    assert "nowhere-to-be-found cannot be read" in account.problems[0]
    account.clients["s3"].create_bucket(Bucket="shop-state")
    account.bucket("shop-state")
    assert len(account.problems) == 1 and "keeps no old versions" in account.notes[0]


def test_the_plan_says_who_pays_for_what() -> None:
    plan = preflight.plan_lines(
        "123456789012", "arn:someone", "eu-central-1", "debian-12", ["db"], ["x", "y"], ["1.00  db"]
    )
    assert plan == [
        "Account 123456789012, region eu-central-1, as arn:someone",
        "Image debian-12",
        "To be made: the hosts db, their network, the generator with its schedule, the ECS cluster",
        "But x; y",
        "The whole costs",
        "1.00  db",
    ]
    assert preflight.plan_lines("1", "a", "r", "i", [], [], [])[2:] == [
        "Every host is there",
        "The whole costs",
    ]

"""What a request asks for: actions by the names that policies use, and the resources that its parameters name."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterator
from typing import Any

import authorization_ecs
from authorization_policy import Resource, each
from moto.ec2.models import ec2_backends
from moto.iam.access_control import IAMRequestBase, S3IAMRequest
from moto.iam.models import iam_backends
from moto.utilities.utils import get_partition

log = logging.getLogger("retailflow.iam")

_PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}
# Operations that need a permission of another name.
_ACTIONS = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:HeadBucket": "s3:ListBucket",
}
# The parameters that name a resource, by service, and the end of its ARN.
_NAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "iam": (
        ("InstanceProfileName", "instance-profile/{}"),
        ("RoleName", "role/{}"),
        ("UserName", "user/{}"),
        ("PolicyArn", "policy/{}"),
        ("PolicySourceArn", "{}"),
    ),
    "sts": (("RoleArn", "{}"),),
    "lambda": (("FunctionName", "function:{}"), ("Resource", "{}")),
    "events": (("Rule", "rule/{}"), ("Name", "rule/{}"), ("ResourceARN", "{}")),
    "sqs": (("QueueUrl", "{}"), ("QueueName", "{}")),
    # A group is asked for as its stream, in a call without one as that of an empty name: aws-solutions/aws-crr-monitor#8 and
    # elastic/apm-aws-lambda#526 show the ARNs of AWS's refusals. A policy for the group alone lets nobody write.
    "logs": (("logGroupName", "log-group:{}:log-stream:"), ("resourceArn", "{}")),
    "cloudwatch": (("AlarmName", "alarm:{}"), ("AlarmNames", "alarm:{}"), ("ResourceARN", "{}")),
    "ecr": (("repositoryName", "repository/{}"), ("resourceArn", "{}")),
    "ssm": (
        ("Name", "parameter/{}"),
        ("Names", "parameter/{}"),
        ("ResourceId", "parameter/{}"),
        ("Path", "parameter/{}"),
    ),
}
_GLOBAL = {"iam", "sts"}  # no region in their ARNs
_EC2_TYPES = {
    "i": "instance",
    "ami": "image",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "igw": "internet-gateway",
    "rtb": "route-table",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "snap": "snapshot",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}
# Public ones belong to nobody.
_EC2_WITHOUT_ACCOUNT = {"image", "snapshot"}
# Other actions that name rules are decided by their group.
_EC2_ABOUT_RULES = {"CreateTags", "DeleteTags", "ModifySecurityGroupRules"}
_EC2_ID = re.compile(r"([a-z]+)-[0-9a-f]{8,17}")
_EC2_MADE = {
    "AllocateAddress": "elastic-ip",
    "AuthorizeSecurityGroupEgress": "security-group-rule",
    "AuthorizeSecurityGroupIngress": "security-group-rule",
    "CreateInternetGateway": "internet-gateway",
    "CreateNetworkInterface": "network-interface",
    "CreateRouteTable": "route-table",
    "CreateSecurityGroup": "security-group",
    "CreateSnapshot": "snapshot",
    "CreateSubnet": "subnet",
    "CreateVolume": "volume",
    "CreateVpc": "vpc",
    "CreateVpcEndpoint": "vpc-endpoint",
    "ImportKeyPair": "key-pair",
    "RunInstances": "instance",
}
# Who hands which role to whom: the parameter with the role's name or ARN, and the service.
_PASSED = {
    "ec2:RunInstances": (("IamInstanceProfile", "ec2.amazonaws.com"),),
    "iam:AddRoleToInstanceProfile": (("RoleName", "ec2.amazonaws.com"),),
    "lambda:CreateFunction": (("Role", "lambda.amazonaws.com"),),
    "lambda:UpdateFunctionConfiguration": (("Role", "lambda.amazonaws.com"),),
}

# Who tags what is made needs the permission to tag it.
_TAGGING = {
    "cloudwatch:PutMetricAlarm": "cloudwatch:TagResource",
    "ecr:CreateRepository": "ecr:TagResource",
    "ecs:CreateCluster": "ecs:TagResource",
    "ecs:CreateService": "ecs:TagResource",
    "ecs:RegisterTaskDefinition": "ecs:TagResource",
    "ecs:RegisterContainerInstance": "ecs:TagResource",
    "ecs:RunTask": "ecs:TagResource",
    "ecs:StartTask": "ecs:TagResource",
    "events:PutRule": "events:TagResource",
    "iam:CreateInstanceProfile": "iam:TagInstanceProfile",
    "iam:CreateRole": "iam:TagRole",
    "lambda:CreateFunction": "lambda:TagResource",
    "logs:CreateLogGroup": "logs:TagResource",
    "sqs:CreateQueue": "sqs:TagQueue",
    "ssm:PutParameter": "ssm:AddTagsToResource",
}


def walk(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text inside the parameters, with the name that it stands under."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, name)
    elif isinstance(value, str):
        yield name, value


class Call:
    """One request: its action, who sent it, and what it is about."""

    def __init__(self, response: Any, request: IAMRequestBase, resource: str) -> None:
        service, _, name = request._action.partition(":")
        name = re.sub(r"(20\d\d\d\d\d\d.*)$", "", name)  # Lambda's operations carry dates
        self.service = _PREFIXES.get(service, service)
        self.name = name
        action = f"{self.service}:{name}"
        self.action = _ACTIONS.get(action, action)
        self.region: str = request._region
        self.account: str = request.account_id
        self.partition = get_partition(self.region)
        self.caller = request._access_key
        self.given = resource if isinstance(request, S3IAMRequest) else ""
        # DeleteObjects names objects in its body, of which each one counts, and a version is another permission:
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
        several = self.action == "s3:DeleteObject" and "/" not in self.given and request._method == "POST"
        body = (request._body or b"").decode(errors="replace") if several else ""
        self.keys = [html.unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body, re.S)]
        if "<VersionId>" in body:
            self.action = "s3:DeleteObjectVersion"
        self.parameters: dict[str, Any] = {} if self.given else self._parameters(response)

    @staticmethod
    def _parameters(response: Any) -> dict[str, Any]:
        """The parameters as boto3 names them."""
        before = getattr(response, "params", None)
        try:
            response.parse_parameters(response.normalized_request)
            return dict(response.params)
        except Exception:  # an operation that moto's own parser does not know
            log.exception("the parameters could not be read")
            return {}
        finally:
            if before is not None and not response.automated_parameter_parsing:
                response.params = before

    def arn(self, service: str, end: str) -> str:
        """An ARN of this account and region; `end` may be one already."""
        if end.startswith("arn:"):
            return end
        region = "" if service in _GLOBAL else self.region
        return f"arn:{self.partition}:{service}:{region}:{self.account}:{end}"

    def resources(self) -> list[Resource]:
        """What each statement's Resource and conditions are compared with."""
        shared = {"aws:RequestedRegion": [self.region]}
        if self.given:
            named = [f"{self.given}/{key}" for key in self.keys] or [self.given]
            return [Resource(one, shared) for one in named]
        if self.service == "ec2":
            found = self._of_ec2()
        elif self.service == "ecs":
            found = authorization_ecs.resources(self)
        else:
            found = [Resource(arn) for arn in self._named()]
        tags = self._request_tags(self.parameters)
        return [Resource(one.arn, shared | tags | one.keys) for one in found or [Resource("", shared | tags)]]

    def _named(self) -> list[str]:
        for parameter, end in _NAMED.get(self.service, ()):
            values = [str(one) for one in each(self.parameters.get(parameter) or [])]
            if parameter == "QueueUrl":
                values = [value.rsplit("/", 1)[-1] for value in values]
            elif parameter == "FunctionName":
                values = [re.sub(r"^arn:.*:function:([^:]+).*$", r"\1", value) for value in values]
            elif self.service == "ssm":
                values = [value.removeprefix("/") for value in values]
            if values:
                ends = [value if value.startswith("arn:") else end.format(value) for value in values]
                if parameter == "logGroupName":
                    ends = [one + str(self.parameters.get("logStreamName") or "") for one in ends]
                return [self.arn(self.service, end).removesuffix(":*") for end in ends]
        return []

    def _of_ec2(self) -> list[Resource]:
        if self.name.startswith("Describe"):
            return []
        backend = ec2_backends[self.account][self.region]
        found: dict[str, Resource] = {}
        for name, value in walk(self.parameters):
            match = _EC2_ID.fullmatch(value)
            kind = _EC2_TYPES.get(match[1]) if match else "key-pair" if name == "KeyName" else None
            if kind is None or (self.name == "ImportKeyPair" and kind == "key-pair"):
                continue
            if kind == "security-group-rule" and self.name not in _EC2_ABOUT_RULES:
                continue
            if kind == "key-pair":
                pair = backend.key_pairs.get(value)
                tags = backend.tags.get(pair.id, {}) if pair else {}
            else:
                tags = backend.tags.get(value, {})
            keys = {
                f"{prefix}:ResourceTag/{key}": [text]
                for key, text in tags.items()
                for prefix in ("aws", "ec2")
            }
            arn = self.arn("ec2", f"{kind}/{value}")
            if kind in _EC2_WITHOUT_ACCOUNT:
                arn = arn.replace(f":{self.account}:", "::", 1)
            found[arn] = Resource(arn, keys)
        for kind in filter(
            None, [_EC2_MADE.get(self.name), "volume" if self.name == "RunInstances" else None]
        ):
            tagged = [
                one
                for one in self.parameters.get("TagSpecifications") or []
                if one.get("ResourceType") == kind
            ]
            arn = self.arn("ec2", f"{kind}/*")
            found[arn] = Resource(
                arn, self._request_tags({"Tags": [tag for one in tagged for tag in one.get("Tags", [])]})
            )
        return list(found.values())

    @staticmethod
    def _request_tags(parameters: dict[str, Any]) -> dict[str, list[str]]:
        """The tags that a request sets, in each of the shapes that services have for them."""
        tags = parameters.get("Tags") or parameters.get("tags") or {}
        if isinstance(tags, list):
            tags = {
                str(one.get("Key") or one.get("key")): str(one.get("Value") or one.get("value") or "")
                for one in tags
                if isinstance(one, dict)
            }
        keys = {f"aws:RequestTag/{key}": [str(value)] for key, value in tags.items()}
        return keys | ({"aws:TagKeys": list(tags)} if tags else {})

    def also(self) -> Iterator[tuple[str, Resource]]:
        """The other permissions that the request needs: to hand over a role, and to tag what it makes."""
        for parameter, service in _PASSED.get(self.action, ()):
            value = self.parameters.get(parameter)
            if isinstance(value, dict):
                value = self._role_of(str(value.get("Name") or value.get("Arn") or "").rsplit("/", 1)[-1])
            if value:
                arn = self.arn("iam", value if value.startswith("arn:") else f"role/{value}")
                yield "iam:PassRole", Resource(arn, {"iam:PassedToService": [service]})
        for one in authorization_ecs.passed(self) if self.service == "ecs" else ():
            yield "iam:PassRole", one
        if (tagging := _TAGGING.get(self.action)) and (
            self.parameters.get("Tags") or self.parameters.get("tags")
        ):
            made = authorization_ecs.tagged(self) if self.service == "ecs" else self.resources()
            shared = self._request_tags(self.parameters) | {"aws:RequestedRegion": [self.region]}
            for one in made:
                yield tagging, Resource(one.arn, shared | one.keys)
        if self.service == "ec2" and self.name != "CreateTags":
            for one in self.parameters.get("TagSpecifications") or []:
                arn = self.arn("ec2", f"{one.get('ResourceType')}/*")
                keys = self._request_tags(one) | {"ec2:CreateAction": [self.name]}
                yield "ec2:CreateTags", Resource(arn, keys)

    def _role_of(self, profile: str) -> str:
        profiles = iam_backends[self.account][self.partition].instance_profiles.values()
        return next((role.arn for one in profiles if one.name == profile for role in one.roles), "")

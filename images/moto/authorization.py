"""IAM as AWS evaluates it, where moto takes short cuts: identities, resources, conditions, services, the words of a refusal.

- `EMULATED_AWS_IDENTITIES` is a JSON list of users that are there from the start, each with `name`, `access_key_id`,
  `secret_access_key` and `policies` (documents by name). With it, every request must be signed by a key that IAM knows and is
  decided by that user's or role's policies.
- A user whose name is that of a service (`events.amazonaws.com`) stands for that service: it may also assume the roles whose
  trust policy names it and invoke the functions whose own policy names it.
- An action counts under the prefix and the name that policies use (`cloudwatch:PutMetricAlarm`, `lambda:InvokeFunction`); the
  names in a signature and of an operation differ from it here and there ("Actions, resources, and condition keys for AWS
  services", Service Authorization Reference).
- The resources of a request are those that its parameters name; for EC2 also those that it makes. Each of them must be
  allowed. Where the parameters say nothing, or nothing that is known here, every Resource of a statement matches.
- Conditions: `aws:ResourceTag/…` and `ec2:ResourceTag/…` of EC2's resources, `aws:RequestTag/…`, `aws:TagKeys`,
  `ec2:CreateAction`, `ecs:cluster`, `ecs:container-instances`, `ecs:CreateAction`, `iam:PassedToService`,
  `iam:AWSServiceName`, `aws:RequestedRegion`. Whoever hands a role to a service needs `iam:PassRole` on it. Not emulated, and
  said in the log: other keys and operators; a statement with one never allows. Nor are policies of queues, buckets and endpoints
  of a VPC, permission boundaries and session policies.

`EMULATED_AWS_RECORD` is a file that gets a line `caller action resource` for each new triple that was asked for.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from authorization_call import Call
from authorization_policy import Resource, each, names_service, permits
from moto import settings
from moto.awslambda.models import lambda_backends
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.iam.access_control import IAMPolicy, IAMRequestBase, S3IAMRequest
from moto.iam.models import AccessKey, iam_backends
from moto.s3.exceptions import S3AccessDeniedError
from werkzeug.exceptions import HTTPException

log = logging.getLogger("retailflow.iam")

ACCOUNT = "123456789012"
MANAGED_POLICY_CHARACTERS = 6144  # "IAM and AWS STS quotas", IAM's user guide
# sts:GetCallerIdentity needs no permission; AWS even ignores a Deny.
_FREE = {"sts:GetCallerIdentity"}

# Services with the names of errors that the query protocol has.
_QUERY = {"iam", "sts", "sqs", "cloudwatch"}
_sign = IAMRequestBase._create_aws_request
_initial = ActionAuthenticatorMixin._authenticate_and_authorize_action
_written: set[str] = set()
_lock = threading.Lock()


class Denied(ServiceException):
    """An error with a code that models of services need not know; moto looks for those of its own modules in a model."""


class Refusal(HTTPException):
    """An answer of the API that moto's dispatcher passes on as it is."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.code = status


def documents(call: Call) -> Iterator[dict[str, Any]]:
    """The statements of the caller's policies; of the variables in them, a user's `${aws:username}` is known."""
    user = getattr(call.caller, "_owner_user_name", "${aws:username}")
    for policy in call.caller.collect_policies():
        for one in each(IAMPolicy(policy)._policy_json["Statement"]):
            resources = [text.replace("${aws:username}", user) for text in each(one.get("Resource") or [])]
            yield one | ({"Resource": resources} if resources else {})


def let_in_by_resource(call: Call, resource: Resource) -> bool:
    """Whether a service may act because the resource's own policy, or a role's trust policy, names it."""
    service = getattr(call.caller, "_owner_user_name", "")
    if not service.endswith(".amazonaws.com"):
        return False
    try:
        if call.action == "sts:AssumeRole":
            role = iam_backends[call.account][call.partition].get_role_by_arn(resource.arn)
            return names_service(role.assume_role_policy_document, call.action, service)
        if call.action == "lambda:InvokeFunction":
            answer = lambda_backends[call.account][call.region].get_policy(resource.arn.rsplit(":", 1)[-1])
            return names_service(json.loads(answer)["Policy"], call.action, service)
    except Exception:  # there is no such role or function, or it has no policy
        return False
    return False


def record(caller: str, action: str, resource: Resource) -> None:
    """Note what was asked for, once."""
    path = os.environ.get("EMULATED_AWS_RECORD")
    line = f"{caller.rsplit(':', 1)[-1]} {action} {resource.arn or '*'}\n"
    with _lock:
        if path and line not in _written:
            _written.add(line)
            with Path(path).open("a") as file:
                file.write(line)


def refuse(response: Any, call: Call, action: str, resource: Resource, reason: str) -> None:
    """Raise AWS's answer to a request that is not allowed.

    The words: "Troubleshoot access denied error messages" in IAM's user guide and, for EC2, "Error codes for the Amazon EC2 API".
    """
    about = f" on resource: {resource.arn}" if resource.arn else ""
    words = f"User: {call.caller.arn} is not authorized to perform: {action}{about} {reason}"
    log.warning("refused: %s", words)
    if call.given:
        error = S3AccessDeniedError()
        error.message = words
        raise error
    service = call.service
    if service == "ec2":
        words = f"You are not authorized to perform this operation. {words}. Encoded authorization failure message: emulated"
        code = "UnauthorizedOperation"
    else:
        code = "AccessDenied" if service in _QUERY else "AccessDeniedException"
    raise rendered(response, Denied(code, words))


def _code(response: Any, code: str) -> str:
    """The code of an authentication error: services with JSON have names of their own ("Common errors" of each service)."""
    names = {
        "InvalidClientTokenId": "UnrecognizedClientException",
        "SignatureDoesNotMatch": "InvalidSignatureException",
    }
    return code if response.boto3_service_name in _QUERY else names.get(code, code)


def rendered(response: Any, error: Denied, status: int = 403) -> Refusal:
    """An error in the protocol of the request."""
    _, headers, body = response.serialized(ActionResult(error))
    response.response_headers.update(headers)
    return Refusal(status, body if isinstance(body, str) else body.decode())


def signed(self: IAMRequestBase) -> Any:
    """The request that the signature is compared with; moto signs the headers in the place of an empty body."""
    kept = self._data
    if "form" not in self._headers.get("Content-Type", ""):
        self._data = {}
    try:
        return _sign(self)
    finally:
        self._data = kept


def decide(self: Any, request_class: type, resource: str = "*") -> None:
    """Check a request's signature and whether its sender may do what it asks for."""
    if ActionAuthenticatorMixin.request_count < settings.INITIAL_NO_AUTH_ACTION_COUNT:
        _initial(self, request_class, resource)
        return
    if not self.headers.get("Authorization"):  # addresses that were signed beforehand are not emulated
        raise rendered(self, Denied("MissingAuthenticationToken", "Request is missing Authentication Token"))
    path = self.raw_path + (f"?{self.parsed_url.query}" if self.parsed_url.query else "")
    try:
        request = request_class(
            account_id=self.current_account,
            method=self.method,
            path=path,
            data=self.data,
            body=self.raw_body,
            headers=self.headers,
            action=self._get_action(),
        )
        request.check_signature()
    except HTTPException as error:
        if request_class is S3IAMRequest or not hasattr(error, "error_type"):
            raise
        raise rendered(
            self, Denied(_code(self, error.error_type), str(getattr(error, "message", "")))
        ) from error
    call = Call(self, request, resource)
    if call.action in _FREE:
        return
    statements = list(documents(call))
    for action, one in [*((call.action, one) for one in call.resources()), *call.also()]:
        record(call.caller.arn, action, one)
        allowed, reason = permits(statements, action, one)
        if not allowed and not (action == call.action and let_in_by_resource(call, one)):
            refuse(self, call, action, one, reason)
    if call.service == "ec2" and str(call.parameters.get("DryRun")).lower() == "true":
        # "Error codes for the Amazon EC2 API"; moto carries out some of these requests.
        words = "Request would have succeeded, but DryRun flag is set."
        raise rendered(self, Denied("DryRunOperation", words), 412)


def make_identities() -> None:
    """Make the users of EMULATED_AWS_IDENTITIES; ValueError for a list that is none."""
    text = os.environ.get("EMULATED_AWS_IDENTITIES", "")
    if not text:
        return
    backend = iam_backends[ACCOUNT]["aws"]
    try:
        for one in json.loads(text):
            user = backend.create_user("us-east-1", one["name"])
            key = AccessKey(one["name"], prefix="AKIA", account_id=ACCOUNT)
            key.access_key_id, key.secret_access_key = one["access_key_id"], one["secret_access_key"]
            user.access_keys.append(key)
            backend.access_keys[key.access_key_id] = key
            for name, document in one["policies"].items():
                text = json.dumps(document, separators=(",", ":"))
                if len(text) > MANAGED_POLICY_CHARACTERS:
                    raise ValueError(
                        f"the policy {name} has {len(text)} characters, IAM takes {MANAGED_POLICY_CHARACTERS}"
                    )
                policy = backend.create_policy("", "/", text, name, [])
                backend.attach_user_policy(policy.arn, one["name"])
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"EMULATED_AWS_IDENTITIES is a JSON list of users with name, access_key_id, secret_access_key and policies: {error!r}"
        ) from error
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0


def install() -> None:
    """Put this in the place of moto's own decisions, and make the identities."""
    # The models of services leave out the errors that all have in common.
    warnings.filterwarnings("ignore", message=".*does not match an error shape")
    IAMRequestBase._create_aws_request = signed  # type: ignore[method-assign]
    ActionAuthenticatorMixin._authenticate_and_authorize_action = decide  # type: ignore[method-assign]
    make_identities()

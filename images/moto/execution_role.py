"""A function runs with the credentials of its execution role, which moto leaves out.

moto gives every function words in their place ("role-account-id"), which no API knows. Here Lambda assumes the role, as the trust
policy of the role must let it ("Defining Lambda function permissions with an execution role", Lambda's developer guide), and IAM
decides about the function's requests as about all others. Where the role does not let it, an invocation is refused as AWS does:
https://github.com/blinkist/terraform-aws-airship-ecs-service/issues/60.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from authorization_policy import names_service
from moto.awslambda.models import LambdaFunction
from moto.core.exceptions import JsonRESTError
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from moto.utilities.utils import get_partition

SERVICE = "lambda.amazonaws.com"
SECONDS = 12 * 3600  # an invocation has 15 minutes at most

_invoke = LambdaFunction._invoke_lambda
_held: dict[tuple[str, str, str], tuple[Any, float]] = {}
_lock = threading.Lock()


class CannotAssumeRoleError(JsonRESTError):
    """The role does not let Lambda in, or is gone."""

    code = 403

    def __init__(self) -> None:
        super().__init__(
            "AccessDeniedException", "The role defined for the function cannot be assumed by Lambda."
        )


class Running:
    """A function as it runs once: it has its own settings, and those that Lambda adds."""

    def __init__(self, function: LambdaFunction, added: dict[str, str]) -> None:
        self._function = function
        self.environment_vars = function.environment_vars | added

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def credentials(function: LambdaFunction) -> dict[str, str]:
    """The variables with the keys of a function's role; a session is used for some hours, but only while the role lets Lambda in.

    "Defined runtime environment variables" in Lambda's developer guide. A function cannot set these names itself.
    """
    account, partition = function.account_id, get_partition(function.region)
    try:
        role = iam_backends[function.role.split(":")[4]][partition].get_role_by_arn(function.role)
        trusts = names_service(role.assume_role_policy_document, "sts:AssumeRole", SERVICE)
    except Exception:  # there is no such role, or its policy is none
        trusts = False
    if not trusts:
        raise CannotAssumeRoleError
    key, now = (account, function.function_arn, role.id), time.monotonic()
    with _lock:
        session, until = _held.get(key, (None, 0.0))
        if now > until:
            session = sts_backends[account][partition].assume_role(
                region_name=function.region,
                role_session_name=function.function_name,
                role_arn=function.role,
                policy="",
                duration=SECONDS,
                external_id="",
            )
            _held[key] = session, now + SECONDS / 2
    return {
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
        "AWS_SESSION_TOKEN": session.session_token,
    }


def invoke(self: LambdaFunction, event: Any = None) -> Any:
    """Run a function with the keys of its role."""
    return _invoke(Running(self, credentials(self)), event)  # type: ignore[arg-type]


def install() -> None:
    """Put this in front of moto's own way."""
    LambdaFunction._invoke_lambda = invoke  # type: ignore[method-assign]

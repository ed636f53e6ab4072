"""Credentials of tasks' roles: those of moto's STS, so that IAM decides about them like about all others."""

from __future__ import annotations

from datetime import UTC, datetime

from authorization_policy import names_service
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from moto.utilities.utils import get_partition

from . import timing, words
from .store import Backend
from .tasks import Task

SERVICE = "ecs-tasks.amazonaws.com"
_ROLES = {"roleCredentials": "taskRoleArn", "executionRoleCredentials": "executionRoleArn"}


class CannotAssumeError(Exception):
    """A role that does not let ECS in; the text is ECS's sentence."""


def role_of(task: Task, parameter: str) -> str:
    """The ARN of a role of a task, or nothing."""
    return str(task.overrides.get(parameter) or task.definition.get(parameter) or "")


def renew(backend: Backend, task: Task, now: float) -> None:
    """Give a task the credentials that it lacks or that end soon; CannotAssumeError where a role does not trust ECS."""
    for kind, parameter in _ROLES.items():
        arn = role_of(task, parameter)
        left = task.credentials.get(kind, ({}, 0.0))[1] - now
        if arn and left < timing.CREDENTIALS_SECONDS / 2:
            task.credentials[kind] = _assume(backend, arn, task.id, now)


def _assume(backend: Backend, arn: str, session: str, now: float) -> tuple[dict[str, str], float]:
    partition = get_partition(backend.region_name)
    if not arn.startswith("arn:"):
        arn = f"arn:{partition}:iam::{backend.account_id}:role/{arn}"
    try:
        role = iam_backends[backend.account_id][partition].get_role_by_arn(arn)
        trusts = names_service(role.assume_role_policy_document, "sts:AssumeRole", SERVICE)
    except Exception:  # there is no such role, or its policy is none
        trusts = False
    if not trusts:
        raise CannotAssumeError(words.cannot_assume(arn))
    assumed = sts_backends[backend.account_id][partition].assume_role(
        region_name=backend.region_name,
        role_session_name=session,
        role_arn=arn,
        policy="",
        duration=timing.CREDENTIALS_SECONDS,
        external_id="",
    )
    end = now + timing.CREDENTIALS_SECONDS
    return {
        "accessKeyId": assumed.access_key_id,
        "secretAccessKey": assumed.secret_access_key,
        "sessionToken": assumed.session_token,
        "roleArn": arn,
        "expiration": datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }, end

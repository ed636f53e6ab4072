"""IAM's policy simulator for users and roles, which moto lacks: `iam:SimulatePrincipalPolicy`.

SimulatePrincipalPolicy, IAM's API reference. Each action is evaluated for each resource, by the policies of the principal and
the context keys that the request gives; a resource that is left out is "*", which only a statement about everything allows.
Not emulated, and refused: policies of resources, permission boundaries, further policies, scenarios of EC2, groups.
"""

from __future__ import annotations

from typing import Any

from authorization import Denied, Refusal, rendered
from authorization_policy import Resource, each, matches, permits
from moto.core.responses import ActionResult
from moto.iam.access_control import AssumedRoleAccessKey, IAMPolicy, IAMUserAccessKey
from moto.iam.responses import IamResponse

_NOT_EMULATED = (
    "PolicyInputList",
    "PermissionsBoundaryPolicyInputList",
    "ResourcePolicy",
    "ResourceOwner",
    "CallerArn",
    "ResourceHandlingOption",
)


def _invalid(response: IamResponse, what: str) -> Refusal:
    return rendered(response, Denied("InvalidInput", f"not emulated: {what}"), 400)


def statements_of(response: IamResponse, arn: str) -> list[dict[str, Any]]:
    """The statements of a user's or a role's policies."""
    kind, name = arn.rsplit(":", 1)[-1].split("/", 1)
    name = name.rsplit("/", 1)[-1]
    if kind == "user":
        response.backend.get_user(name)
        collect, owner = IAMUserAccessKey.collect_policies, "_owner_user_name"
    elif kind == "role":
        response.backend.get_role(name)
        collect, owner = AssumedRoleAccessKey.collect_policies, "_owner_role_name"
    else:
        raise _invalid(response, f"the policies of {arn}")
    holder = type("Holder", (), {owner: name, "backend": response.backend})()
    return [one for policy in collect(holder) for one in each(IAMPolicy(policy)._policy_json["Statement"])]


def simulate(self: IamResponse) -> ActionResult:
    """Answer for each action and resource whether the principal's policies allow it."""
    self.parse_parameters(self.normalized_request)
    parameters = self.params
    for name in _NOT_EMULATED:
        if parameters.get(name):
            raise _invalid(self, f"{name} of SimulatePrincipalPolicy")
    statements = statements_of(self, parameters["PolicySourceArn"])
    keys = {one["ContextKeyName"]: one["ContextKeyValues"] for one in parameters.get("ContextEntries") or []}
    results = []
    for action in parameters["ActionNames"]:
        for arn in parameters.get("ResourceArns") or ["*"]:
            resource = Resource(arn, keys)
            allowed, _ = permits(statements, action, resource)
            refused = any(one["Effect"] == "Deny" and matches(one, action, resource) for one in statements)
            decision = "allowed" if allowed else "explicitDeny" if refused else "implicitDeny"
            results.append(
                {
                    "EvalActionName": action,
                    "EvalResourceName": arn,
                    "EvalDecision": decision,
                    "MatchedStatements": [],
                    "MissingContextValues": [],
                }
            )
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})


def install() -> None:
    """Give moto the operation."""
    IamResponse.simulate_principal_policy = simulate  # type: ignore[attr-defined]

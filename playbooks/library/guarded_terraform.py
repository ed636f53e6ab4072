"""Ansible module: bring what Terraform makes to a state, by a plan that is read before it is applied."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.retailflow_terraform import Importer, Terraform

DOCUMENTATION = r"""
---
module: guarded_terraform
short_description: Plan with Terraform, refuse what would lose something, apply that very plan
description:
  - Writes a plan into a file, reads it as JSON and applies that file only.
  - A plan that destroys or replaces something is refused, unless that very thing is named in O(replace) or can be made
    again without a loss (rules, routes, IAM). So is one that gives a host another address, which EC2 cannot do.
  - What a plan would create and AWS holds already, with the site's O(tags), is imported instead, and the plan is made again. So a
    run that was cut off between AWS and the state is gone on with. Where something has the name and not the tags, or where two
    match, nothing is changed.
  - With O(state=absent) everything is removed but what O(keep) names, and nothing is refused. Whoever calls it has asked before.
options:
  project_path: {description: Folder of the configuration., type: path, required: true}
  state:
    description: Whether it is made or removed.
    type: str
    choices: [present, absent]
    default: present
  variables: {description: Values of the configuration's variables., type: dict, default: {}}
  backend_config: {description: Settings of the backend., type: dict, default: {}}
  replace:
    description:
      - What is to be replaced, or may be removed where the configuration no longer has it. An address such as
        C(aws_ebs_volume.data["postgres"]), with or without its quotes, or a role such as C(postgres), which stands for the
        host with its network interface and the attachment of its volume, but never for the volume.
    type: list
    elements: str
    default: []
  keep:
    description:
      - With O(state=absent), resources such as C(aws_ebs_volume.data) that stay. The state forgets them first, so only who
        finds them again by other means can give them back to Terraform.
    type: list
    elements: str
    default: []
  tags:
    description: Tags by which something in AWS is the site's. Without any, nothing is looked for.
    type: dict
    default: {}
  region: {description: Where it is looked for., type: str, default: ""}
  work_dir: {description: Folder of the plan and of the log., type: path, required: true}
requirements: [terraform]
author: RetailFlow
attributes:
  check_mode: {support: full, description: "Plans, refuses, applies nothing."}
  diff_mode: {support: none, description: The summary names every resource that would change.}
"""

EXAMPLES = r"""
- name: Make network and hosts
  guarded_terraform:
    project_path: terraform
    backend_config: {path: /srv/shop/terraform.tfstate}
    variables: {name: shop}
    tags: {Project: shop}
    region: us-east-1
    work_dir: /srv/shop
"""

RETURN = r"""
outputs: {description: "Outputs of the configuration, each with C(value)", type: dict, returned: success}
imported: {description: "What AWS held and the state did not know, as address and id", type: list, returned: success}
unplanned: {description: What has the tags and is neither in the state nor planned., type: list, returned: success}
summary: {description: What was planned as lines of text., type: list, returned: always}
lost: {description: What was refused as lines of text., type: list, returned: failure}
"""

# Kinds that can be made again without a loss. All others are guarded, also those that come later.
HARMLESS = {
    "aws_default_security_group",
    "aws_eip",
    "aws_iam_instance_profile",
    "aws_iam_role",
    "aws_iam_role_policy",
    "aws_internet_gateway",
    "aws_route",
    "aws_route_table",
    "aws_route_table_association",
    "aws_security_group",
    "aws_vpc_security_group_egress_rule",
    "aws_vpc_security_group_ingress_rule",
}
LOSSES = {
    "aws_ebs_volume": "the volume {id} with the data on it",
    "aws_instance": "the host {id} with its root disk",
    "aws_key_pair": "the key pair {id} by which people and playbooks log in",
    "aws_volume_attachment": "the way of the host to its data",
    "aws_s3_bucket": "the bucket {id} with the objects in it",
}
# What goes and comes back with a host.
OF_A_HOST = ("aws_instance.host", "aws_network_interface.host", "aws_volume_attachment.data")
ROLE = re.compile(r"[a-z][a-z0-9_-]*")
ADDRESS = re.compile(r'([A-Za-z0-9_.-]+\.[A-Za-z0-9_-]+)(?:\["?([^"\[\]]+)"?\])?')


def addresses(named: str) -> list[str]:
    """Return the addresses that a role or an address as a person types it stands for; ValueError for anything else."""
    if ROLE.fullmatch(named):
        return [f'{one}["{named}"]' for one in OF_A_HOST]
    found = ADDRESS.fullmatch(named)
    if not found:
        raise ValueError(f"{named} is neither a role nor the address of a resource")
    resource, key = found.groups()
    return [resource if key is None else f"{resource}[{key}]" if key.isdigit() else f'{resource}["{key}"]']


@dataclass
class Plan:
    """What a plan does, read from the JSON of `terraform show`.

    Its form: https://developer.hashicorp.com/terraform/internals/json-format#change-representation
    """

    changes: list[dict[str, Any]]
    counts: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for one in self.changes:
            actions, address = set(one["change"]["actions"]), one["address"]
            verb = (
                "replace"
                if {"create", "delete"} <= actions
                else "remove"
                if "delete" in actions
                else "create"
                if "create" in actions
                else "change"
                if "update" in actions
                else ""
            )
            imported = one["change"].get("importing")
            if one.get("mode") == "managed" and imported:
                self.counts["find again"] = self.counts.get("find again", 0) + 1
                self.lines.append(f"find again {address} ({imported.get('id')})")
            if one.get("mode") != "managed" or not verb:
                continue
            self.counts[verb] = self.counts.get(verb, 0) + 1
            why = sorted({str(path[0]) for path in one["change"].get("replace_paths") or [] if path})
            self.lines.append(f"{verb} {address}" + (f" (another {', '.join(why)})" if why else ""))
            if verb in ("replace", "remove") and one["type"] not in HARMLESS:
                self.lost.append((address, f"{self.lines[-1]}: {self.loss(one)}"))
            elif verb == "change" and self.moves(one):
                self.lost.append(
                    (address, f"{self.lines[-1]}: a host cannot take another address, only a new host can")
                )

    @staticmethod
    def loss(one: dict[str, Any]) -> str:
        """Say what goes with a resource."""
        before = one["change"]["before"] or {}
        text = LOSSES.get(one["type"], "{id}, which others depend on")
        return text.format(id=before.get("id") or one["address"])

    @staticmethod
    def moves(one: dict[str, Any]) -> bool:
        """Whether a network interface would get another address. EC2 never takes away the first one:
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-eni.html
        """
        before, after = one["change"]["before"] or {}, one["change"]["after"] or {}
        return one["type"] == "aws_network_interface" and before.get("private_ips") != after.get(
            "private_ips", before.get("private_ips")
        )

    @property
    def addresses(self) -> set[str]:
        """Everything that is there or will be."""
        return {one["address"] for one in self.changes if one.get("mode") == "managed"}

    @property
    def summary(self) -> list[str]:
        """The plan as a person reads it, first the numbers."""
        counted = [
            f"{self.counts[verb]} to {verb}"
            for verb in ("find again", "create", "change", "replace", "remove")
            if verb in self.counts
        ]
        return [", ".join(counted) or "nothing to do", *self.lines]

    def unfinished(self, named: Iterable[str]) -> list[str]:
        """Return what a run that was interrupted began to make, and what is guarded: it is finished, not made again."""
        allowed = {address for one in named for address in addresses(one)}
        return [
            one["address"]
            for one in self.changes
            if one.get("action_reason") == "replace_because_tainted"
            and one["type"] not in HARMLESS
            and one["address"] not in allowed
        ]

    def refused(self, named: Iterable[str]) -> list[tuple[str, str]]:
        """Return what would be lost and is not named, as address and text."""
        allowed = {address for one in named for address in addresses(one)}
        return [(address, text) for address, text in self.lost if address not in allowed]


def how_to_go_on(refused: list[tuple[str, str]]) -> str:
    """Say what to type when it is meant."""
    typed = []
    for address, _ in refused:
        resource, _, key = address.partition("[")
        role = key.strip('"]')
        typed.append(role if resource in OF_A_HOST else address.replace('"', ""))
    return "REPLACE=" + ",".join(dict.fromkeys(typed))


def as_text(value: Any) -> str:
    """Return a value as Terraform takes it from a command line."""
    return value if isinstance(value, str) else json.dumps(value)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "project_path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "variables": {"type": "dict", "default": {}},
            "backend_config": {"type": "dict", "default": {}},
            "replace": {"type": "list", "elements": "str", "default": []},
            "keep": {"type": "list", "elements": "str", "default": []},
            "tags": {"type": "dict", "default": {}},
            "region": {"type": "str", "default": ""},
            "work_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    absent = params["state"] == "absent"
    named = [one.strip() for one in params["replace"] if one.strip()]
    plan_file = Path(params["work_dir"]) / "terraform.plan"
    try:
        forced = [] if absent else [addresses(one)[0] for one in named]
    except ValueError as error:
        module.fail_json(
            msg=f"Nothing was changed. {error}: name a role of network_hosts, or an address of the plan."
        )
    terraform = Terraform(
        module.get_bin_path("terraform", required=True),
        params["project_path"],
        Path(params["work_dir"]) / "terraform.log",
    )
    importer = Importer(terraform, params["tags"], params["region"], module.check_mode)

    def planned() -> tuple[int, list[dict[str, Any]]]:
        """Plan; return Terraform's exit code and the changes."""
        code = terraform.run(
            "plan",
            "-no-color",
            "-input=false",
            "-detailed-exitcode",  # 2: there is something to do
            f"-out={plan_file}",
            *(["-destroy"] if absent else []),
            *(f"-replace={one}" for one in forced),
            *(f"-var={key}={as_text(value)}" for key, value in params["variables"].items()),
            codes=(0, 2),
        )
        # A plan with nothing to do is read only to find what was named: that starts Terraform and its provider once more.
        shown = terraform.read("show", "-json", str(plan_file)) if code == 2 or forced else {}
        return code, shown.get("resource_changes", [])

    applied = False
    summary: list[str] = []
    try:
        terraform.run(
            "init",
            "-no-color",
            "-input=false",
            "-reconfigure",
            *(f"-backend-config={key}={as_text(value)}" for key, value in params["backend_config"].items()),
        )
        kept = terraform.managed(params["keep"]) if absent and params["keep"] else []
        if kept and not module.check_mode:
            applied = True
            terraform.run("state", "rm", *kept)
        code, changes = planned()
        while params["tags"] and not absent and importer.creates(changes) and importer.found_more(changes):
            code, changes = planned()
        if importer.matched.problems:
            module.fail_json(
                msg="Nothing was changed. AWS holds what would be made again: "
                + "; ".join(importer.matched.problems)
                + ". Then run it again.",
                summary=Plan(changes).summary,
            )
        unfinished: list[str] = []
        # What stands in something unfinished shows as unfinished only when that is settled.
        while more := sorted(set([] if absent else Plan(changes).unfinished(named)) - set(unfinished)):
            unfinished += more
            if module.check_mode:
                break
            for one in more:
                terraform.run("untaint", one)
            code, changes = planned()
        plan = Plan([one for one in changes if one["address"] not in kept])
        summary = plan.summary + [f"keep {address}" for address in kept]
        summary += [f"go on with {one}, which a run began to make" for one in unfinished]
        summary += [
            f"revoke {one}, which came with the group {group}" for one, group in importer.too_open().items()
        ]
        summary += [f"leave alone {one}, which is not planned" for one in importer.matched.unplanned]
        unknown = [one for one in forced if one not in plan.addresses]
        if unknown:
            module.fail_json(
                msg=f"Nothing was changed. Named to be replaced, but not there: {', '.join(unknown)}.",
                summary=summary,
            )
        refused = [] if absent else plan.refused({*named, *importer.same_keys, *unfinished})
        if refused:
            module.fail_json(
                msg="Nothing was changed. Terraform would destroy what was not named: "
                + "; ".join(text for _, text in refused)
                + ". Take back what you changed in the inventory. Or, if you mean it and have a backup, name it: "
                + f"make up {how_to_go_on(refused)}",
                lost=[text for _, text in refused],
                summary=summary,
            )
        if code == 2 and not module.check_mode:
            applied = True
            importer.close()
            terraform.run("apply", "-no-color", "-input=false", str(plan_file))
        outputs = terraform.read("output", "-json")
    except (BotoCoreError, ClientError, RuntimeError) as error:
        done = (
            "A part of the plan may have been applied; run it again. " if applied else "Nothing was changed. "
        )
        module.fail_json(msg=f"{done}{error}", summary=summary)
    finally:
        plan_file.unlink(missing_ok=True)
        importer.forget()
    module.exit_json(
        changed=code == 2 or bool(kept),
        outputs=outputs,
        summary=summary,
        imported=importer.lines,
        unplanned=importer.matched.unplanned,
    )


if __name__ == "__main__":
    main()

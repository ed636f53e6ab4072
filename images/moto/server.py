"""The stock moto server with some gaps closed: `python server.py -H 127.0.0.1 -p 5000`.

- EC2 releases the network interfaces of an instance that is terminated. moto 5.2.5 keeps them attached for ever and refuses to
  detach them, so that whoever made an interface on its own, as our Terraform does, could never remove it.
- ECS says that an agent is connected when it holds a connection to the service. No agent connects to this API, so
  `agentConnected` is false; moto says true.
- IAM authorizes actions under the service's prefix (`cloudwatch:PutMetricAlarm`). moto takes the name that requests are signed
  for (`monitoring`), which no policy names.
- Lambda retries events and keeps those that failed, its metrics are counted, alarms on them are evaluated: `asynchronous.py`.
"""

from __future__ import annotations

from typing import Any

import asynchronous
from moto.ec2.models.instances import Instance
from moto.ecs.models import ContainerInstance
from moto.iam.access_control import IAMRequestBase
from moto.server import main

# Where the name in a signature is not the prefix of the service's actions: "Actions, resources, and condition keys for AWS
# services" in AWS's Service Authorization Reference.
_PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}

_terminate = Instance.terminate
_enter = ContainerInstance.__init__
_authorize = IAMRequestBase.check_action_permitted


def terminate(self: Instance) -> Any:
    """Terminate an instance and release its interfaces; those that go with it are gone already."""
    state = _terminate(self)
    for interface in self.nics.values():
        # Not by detach_eni: moto cannot describe an instance without an interface.
        interface.instance = None
        interface.attachment_id = None
        interface.status = "available"
    return state


def enter(self: ContainerInstance, *arguments: Any, **options: Any) -> None:
    """Make the entry of an instance whose agent is not connected."""
    _enter(self, *arguments, **options)
    self.agent_connected = False


def authorize(self: IAMRequestBase, resource: str) -> None:
    """Look for the action under the prefix that policies use."""
    service, _, action = self._action.partition(":")
    self._action = f"{_PREFIXES.get(service, service)}:{action}"
    _authorize(self, resource)


Instance.terminate = terminate  # type: ignore[method-assign]
ContainerInstance.__init__ = enter  # type: ignore[method-assign]
IAMRequestBase.check_action_permitted = authorize  # type: ignore[method-assign]
asynchronous.install()

if __name__ == "__main__":
    main()

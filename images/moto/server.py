"""The stock moto server with some gaps closed: `python server.py -H 127.0.0.1 -p 5000`.

- EC2 releases the network interfaces of an instance that is terminated. moto 5.2.5 keeps them attached for ever and refuses to
  detach them, so that whoever made an interface on its own, as our Terraform does, could never remove it.
- EC2 refuses to terminate a protected instance. moto forgets the protection of a new instance, and where it is turned on later
  keeps the word of the request, which is neither on nor off.
- ECS places tasks and lets agents run them: `ecs`, a package.
- IAM decides about every request as AWS's does, once there are identities: `authorization.py`. It simulates what a user or role
  may do: `simulation.py`.
- A body is as large as the service takes it, and as a refusal needs it where nobody known has signed it: `bounds.py`.
- A volume for a function's code that could not be filled is given up: `code_volumes.py`.
- A function has the credentials of its role: `execution_role.py`.
- S3 keeps buckets and objects over a restart: `stored_objects.py`.
- Lambda retries events and keeps those that failed, its metrics are counted, alarms on them are evaluated: `asynchronous.py`.
"""

from __future__ import annotations

from typing import Any

import asynchronous
import authorization
import bounds
import code_volumes
import ecs
import execution_role
import simulation
import stored_objects
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses.instances import InstanceResponse
from moto.server import main

_terminate = Instance.terminate
_modify = InstanceBackend.modify_instance_attribute
_run = InstanceResponse.run_instances


def terminate(self: Instance) -> Any:
    """Terminate an instance and release its interfaces; those that go with it are gone already."""
    state = _terminate(self)
    for interface in self.nics.values():
        # Not by detach_eni: moto cannot describe an instance without an interface.
        interface.instance = None
        interface.attachment_id = None
        interface.status = "available"
    return state


def modify(self: InstanceBackend, instance_id: str, key: str, value: Any) -> Instance:
    """Set an attribute of an instance; a switch is on or off."""
    if key in ("disable_api_termination", "disable_api_stop"):
        value = str(value).lower() == "true"
    return _modify(self, instance_id, key, value)


def run(self: InstanceResponse) -> Any:
    """Run instances, protected if that is asked for."""
    answer = _run(self)
    for instance in answer.result.instances:
        instance.disable_api_termination = str(self._get_param("DisableApiTermination")).lower() == "true"
    return answer


Instance.terminate = terminate  # type: ignore[method-assign]
InstanceBackend.modify_instance_attribute = modify  # type: ignore[method-assign]
InstanceResponse.run_instances = run  # type: ignore[method-assign]
asynchronous.install()
authorization.install()
bounds.install()
code_volumes.install()
ecs.install()
execution_role.install()
simulation.install()
stored_objects.install()

if __name__ == "__main__":
    main()

"""The stock moto server with one gap closed: `python server.py -H 127.0.0.1 -p 5000`.

EC2 lets go of the network interfaces of an instance that is terminated. moto 5.2.5 keeps them attached for ever and refuses to
detach them, so that whoever made an interface on its own, as our Terraform does, could never remove it.
"""

from __future__ import annotations

from typing import Any

from moto.ec2.models.instances import Instance
from moto.server import main

_terminate = Instance.terminate


def terminate(self: Instance) -> Any:
    """Terminate an instance and let go of its interfaces; those that go with it are gone already."""
    state = _terminate(self)
    for interface in self.nics.values():
        # Not by detach_eni: moto cannot describe an instance without an interface.
        interface.instance = None
        interface.attachment_id = None
        interface.status = "available"
    return state


Instance.terminate = terminate  # type: ignore[method-assign]

if __name__ == "__main__":
    main()

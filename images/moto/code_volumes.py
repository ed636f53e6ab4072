"""The volumes that moto puts the code and the layers of functions into.

A volume that could not be filled is given up, so that the next invocation makes another. moto 5.2.5 counts it as in use for ever
and mounts it as it is: after one fault of the engine, every invocation fails until the server starts again.
"""

from __future__ import annotations

import contextlib
from typing import Any

import docker
from moto.awslambda.models import _DockerDataVolumeContext, _DockerDataVolumeLayerContext

VOLUMES = (_DockerDataVolumeContext, _DockerDataVolumeLayerContext)
_enter = {kind: kind.__enter__ for kind in VOLUMES}


def enter(self: Any) -> Any:
    """Fill the volume, or give it up with the reason."""
    try:
        return _enter[type(self)](self)
    except BaseException:
        with type(self)._lock:
            if self._vol_ref is not None:
                self._vol_ref.refcount -= 1
                if self._vol_ref.refcount == 0 and self._vol_ref.volume is not None:
                    with contextlib.suppress(docker.errors.DockerException):
                        self._vol_ref.volume.remove()
                    self._vol_ref.volume = None
        raise


def install() -> None:
    """Put this in front of moto."""
    for kind in VOLUMES:
        kind.__enter__ = enter  # type: ignore[method-assign,assignment]

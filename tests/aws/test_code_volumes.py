"""The volume with a function's code is given up where it could not be filled, and filled the next time."""

from __future__ import annotations

import subprocess
import sys

from server_support import ROOT

#: With an engine that refuses the first container, and notes what is done with the volumes.
PROGRAM = f"""
import io, sys, types, zipfile
sys.path.insert(0, {str(ROOT / "images/moto")!r})
import code_volumes, docker
from moto.awslambda.models import _DockerDataVolumeContext as Volume
code_volumes.install()
done, refusals = [], [docker.errors.APIError("refused")]

class Filler:
    def put_archive(self, path, stream):
        done.append("filled")
    def remove(self, force):
        pass

class Engine:
    class images:
        get = staticmethod(lambda name: None)
    class volumes:
        list = staticmethod(lambda: [])
        @staticmethod
        def create(name):
            done.append("made")
            return types.SimpleNamespace(name=name, remove=lambda: done.append("removed"))
    class containers:
        @staticmethod
        def run(*arguments, **options):
            if refusals:
                raise refusals.pop()
            return Filler()

code = io.BytesIO()
zipfile.ZipFile(code, "w").close()
function = types.SimpleNamespace(
    docker_client=Engine, code_digest="a", code_bytes=code.getvalue(), ensure_image_exists=lambda name: None
)
try:
    Volume(function).__enter__()
except docker.errors.APIError:
    done.append("refused")
with Volume(function):
    done.append("invoked")
print(*done)
"""


def test_a_volume_that_could_not_be_filled_is_made_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["made", "removed", "refused", "made", "filled", "invoked", "removed"]

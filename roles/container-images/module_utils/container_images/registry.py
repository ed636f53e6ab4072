"""What a registry of images answers."""

from __future__ import annotations

import base64
import http.client

from .errors import ImageError

MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
)


def in_registry(registry: str, repository: str, tag: str, login: dict[str, str]) -> bool:
    """Ask a registry whether it has a tag, by TLS where there is a login; ImageError when it does not answer."""
    headers = {"Accept": MANIFEST_TYPES}
    connection = http.client.HTTPConnection(registry, timeout=10)
    if login:
        connection = http.client.HTTPSConnection(registry, timeout=10)
        pair = base64.b64encode(f"{login['username']}:{login['password']}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    try:
        connection.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers=headers)
        status = connection.getresponse().status
    except OSError as error:
        raise ImageError(f"the registry at {registry} does not answer: {error}") from error
    finally:
        connection.close()
    if status not in (200, 404):
        raise ImageError(f"the registry at {registry} answered {status} for {repository}:{tag}")
    return status == 200

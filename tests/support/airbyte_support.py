"""The bash installers of Airbyte as the role renders them, and stand-ins of the programs that they call.

Each stand-in writes down in the file $CALLS how it was called.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import jinja2
import yaml
from ansible.plugins.filter.core import FilterModule

ROLE = Path(__file__).parents[2] / "roles/airbyte-bash-installer"
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
VERSION = DEFAULTS["airbyte_bash_installer_abctl_version"]

RECORD = '#!/usr/bin/env bash\nprintf "%s\\n" "${0##*/} $*" >> "$CALLS"\n'
ABCTL = (
    RECORD
    + """
case "$1 ${2:-}" in
  "version ") echo "version: ${STUB_ABCTL_VERSION}" ;;
  "local install")
    [ "${DO_NOT_TRACK:-}" = 1 ] || echo "abctl calls home" >> "$CALLS"
    sleep "${STUB_ABCTL_SECONDS:-0}"
    exit "${STUB_ABCTL_RC:-0}"
    ;;
esac
"""
)
STUBS = {
    "nproc": '#!/usr/bin/env bash\necho "${STUB_CPUS:-2}"\n',
    "ss": '#!/usr/bin/env bash\n[[ "$*" != *"sport = :8000"* ]] || printf "%b" "${STUB_LISTENS:-}"\n',
    # Answers with the archive of the release.
    "curl": RECORD
    + """
[ "${STUB_CURL_RC:-0}" -eq 0 ] || exit "$STUB_CURL_RC"
while [ "$1" != --output ]; do shift; done
cp "$STUBS/kept/abctl.tar.gz" "$2"
""",
    "docker": RECORD
    + """
if [ -s "${STUB_LATE:-}" ]; then sed -i 1d "$STUB_LATE"; exit 1; fi
case "$*" in
  info) exit "${STUB_DOCKER_RC:-0}" ;;
  "ps "*"publish=8000/tcp "*) printf '%b' "${STUB_PUBLISHED:-}" ;;
  "port airbyte-abctl-control-plane 80/tcp") printf '%b' "${STUB_PORT:-}" ;;
  *"get pods --no-headers"*) printf 'airbyte-server 1/1 Running\nairbyte-db 0/1 Pending\nbootloader 0/1 Completed\n' ;;
  *"get events"*) echo "Warning FailedScheduling airbyte-server" ;;
  *"patch secret airbyte-auth-secrets --type merge --patch-file /dev/stdin") exec cat > "${STUB_PATCH:?}" ;;
  *"rollout restart deployment/airbyte-abctl-server") exit "${STUB_ROLLOUT_RC:-0}" ;;
  *"rollout status deployment/airbyte-abctl-server "*) exit "${STUB_ROLLOUT_RC:-0}" ;;
  *client-id*) printf '%s' "${STUB_ID:-the-id}" | base64 ;;
  *client-secret*) printf '%s' "${STUB_SECRET:-the-secret}" | base64 ;;
esac
""",
}


def _archive() -> bytes:
    """abctl in the archive of a release, in a folder of its own."""
    text, buffer = ABCTL.encode(), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(f"abctl-{VERSION}-linux/abctl")
        entry.size, entry.mode = len(text), 0o755
        archive.addfile(entry, io.BytesIO(text))
    return buffer.getvalue()


ARCHIVE = _archive()
CHECKSUM = hashlib.sha256(ARCHIVE).hexdigest()
NEED = {"cpus": 2, "memory_mb": 1, "disk_mb": 1}


def executable(path: Path, text: str) -> Path:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def render(distribution: str, folder: Path, **changed: Any) -> Path:
    """Write the installer of a distribution as the role would, with small needs, into a folder."""
    loader = jinja2.FileSystemLoader(ROLE / "templates")
    environment = jinja2.Environment(
        loader=loader, trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= FilterModule().filters()
    script = environment.get_template(f"{distribution}/install.sh.j2").render(
        DEFAULTS
        | {
            "ansible_managed": "Ansible managed",
            "airbyte_bash_installer_dir": str(folder / "opt"),
            "airbyte_bash_installer_state_dir": str(folder / "state"),
            "airbyte_bash_installer_abctl_checksums": {"amd64": CHECKSUM, "arm64": CHECKSUM},
            "__airbyte_bash_installer_need": NEED,
            "__airbyte_bash_installer_bin_dir": str(folder / "stubs"),
        }
        | changed
    )
    (folder / "state").mkdir(exist_ok=True)
    return executable(folder / "opt/install.sh", script)


def stand_ins(folder: Path) -> None:
    """Write them into a folder for PATH; abctl is among them only when the installer has fetched it."""
    for name, text in STUBS.items():
        executable(folder / name, text)
    (folder / "kept").mkdir()
    (folder / "kept/abctl.tar.gz").write_bytes(ARCHIVE)

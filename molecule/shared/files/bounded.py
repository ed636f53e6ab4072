"""Proves, on the host, that a container is bounded: python3 - NAME UID WRITABLE… < bounded.py

Says what is wrong in one line for each thing; nothing where all is right.
"""

import json
import subprocess
import sys

name, user, *writable = sys.argv[1:]


def inside(*command: str, as_root: bool = False) -> "subprocess.CompletedProcess[str]":
    who = ["--user=root"] if as_root else []
    return subprocess.run(
        ["docker", "exec", *who, name, *command], capture_output=True, text=True, timeout=60
    )


(found,) = json.loads(subprocess.check_output(["docker", "inspect", name]))
bounds = found["HostConfig"]
wrong = []
if not bounds["Memory"] > 0:
    wrong.append("no memory limit")
if not (bounds["PidsLimit"] or 0) > 0:
    wrong.append("no limit of processes")
if bounds["CapDrop"] != ["ALL"] or bounds["CapAdd"] or "no-new-privileges" not in bounds["SecurityOpt"]:
    wrong.append("capabilities or new privileges")
# Its first process, and whoever comes in.
for status in (inside("cat", "/proc/1/status"), inside("cat", "/proc/self/status")):
    fields = dict(line.split(":", 1) for line in status.stdout.splitlines() if ":" in line)
    if fields["Uid"].split() != [user] * 4:
        wrong.append(f"runs as {fields['Uid'].split()}")
    if int(fields["CapEff"], 16) or int(fields["CapBnd"], 16) or fields["NoNewPrivs"].strip() != "1":
        wrong.append(f"may do {fields['CapEff'].strip()} of {fields['CapBnd'].strip()}")
# Root, who needs no right to write there.
for folder in ("/", "/usr/bin", "/var/lib"):
    if "Read-only file system" not in inside("touch", f"{folder}/mark", as_root=True).stderr:
        wrong.append(f"{folder} can be written to")
for folder in ("/tmp", *writable):
    if inside("sh", "-c", f"touch {folder}/mark && rm {folder}/mark").returncode:
        wrong.append(f"{folder} cannot be written to")
print("\n".join(wrong))

"""A Python for Ansible's modules, and an ansible-playbook, that start at once: each call is forked from a process that has
imported what they import.

`interpreter()` returns what `ansible_python_interpreter` takes, `playbook()` the command of a play whose modules it runs. Their
processes end with the one that asked for them. As a program:

warm_python.py serve FOLDER KIND              imports, then forks a process for each call until its standard input ends

FOLDER/python [ARGUMENT…] then stands for `python` or, of the kind `playbook`, for `ansible-playbook`: its files, folder and
environment are those of the call.

Of Ansible a module imports what is installed, which is what Ansible sends with it; the project's own code is what was sent. The
playbook's process imports nothing that reads Ansible's settings, which every call has of its own.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

# AWS's models take longer to read than a call to the emulated API takes.
SERVICES = (
    "cloudwatch",
    "ec2",
    "ecr",
    "ecs",
    "events",
    "iam",
    "lambda",
    "logs",
    "resourcegroupstaggingapi",
    "s3",
    "service-quotas",
    "sqs",
    "ssm",
    "sts",
)


def interpreter() -> str:
    """Return the path of a warm Python for this process, the same one each time."""
    return _start("modules")


def playbook() -> tuple[str, ...]:
    """Return the command that stands for ansible-playbook, for this process, with its modules run by `interpreter()`."""
    return (_start("playbook"), *options())


def _start(kind: str) -> str:
    import atexit
    import shutil
    import subprocess
    import tempfile
    from pathlib import Path

    if kind not in _started:
        folder = Path(tempfile.mkdtemp(prefix="warm-"))
        (folder / "python").write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
            f"from warm_python import run\nsys.exit(run({str(folder)!r}, sys.argv[1:]))\n"
        )
        (folder / "python").chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, __file__, "serve", folder, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        assert server.stdin and server.stdout

        def end() -> None:
            server.stdin.close()  # type: ignore[union-attr]
            server.wait(120)
            shutil.rmtree(folder, ignore_errors=True)

        atexit.register(end)
        server.stdout.read()
        assert (folder / "socket").exists(), "it says above why it ended"
        _started[kind] = str(folder / "python")
    return _started[kind]


_started: dict[str, str] = {}


def options() -> tuple[str, str]:
    """Return what makes ansible-playbook run its modules by it on every host."""
    return "-e", f"ansible_python_interpreter={interpreter()}"


def run(folder: str, arguments: list[str]) -> int:
    import marshal

    path = f"{folder}/socket"
    if os.stat(path).st_uid != os.geteuid():  # after sudo
        os.execv(sys.executable, [sys.executable, *arguments])
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        mask = os.umask(0o077)
        call = marshal.dumps((arguments, dict(os.environ), os.getcwd(), mask))
        socket.send_fds(line, [len(call).to_bytes(4, "big")], [0, 1, 2])
        line.sendall(call)
        for descriptor in (0, 1, 2):  # the forked process alone decides when a pipe ends
            os.close(descriptor)
        answer = line.recv(1)
        return answer[0] if answer else 1


def serve(folder: str, kind: str) -> None:
    import contextlib
    import gc
    import select

    if kind == "playbook":
        _import_for_playbooks()
    else:
        _import_for_modules(folder)
    gc.collect()
    gc.freeze()  # or each call would copy what it counts
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen(64)
        sys.stdout.close()
        os.close(1)  # says that it listens
        os.open(os.devnull, os.O_WRONLY)
        while 0 not in select.select([listener, 0], [], [])[0]:
            line, _ = listener.accept()
            with line:
                size, descriptors, _, _ = socket.recv_fds(line, 4, 3)
                if os.fork() == 0:
                    listener.close()
                    _serve_one(line, int.from_bytes(size, "big"), descriptors, kind)
                for descriptor in descriptors:
                    os.close(descriptor)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


class _Sent:
    """Finds what is not installed in the archive that Ansible sent, which is first on the path."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        import importlib.machinery

        parent, _, _ = name.rpartition(".")
        if parent.partition(".")[0] not in ("ansible", "ansible_collections"):
            return None
        return importlib.machinery.PathFinder.find_spec(name, [f"{sys.path[0]}/{parent.replace('.', '/')}"])


def _import_for_playbooks() -> None:
    """Import what a play and the inventory of AWS need, but for what reads Ansible's settings."""
    import importlib
    import pkgutil

    sys.path.pop(0)  # our own folder
    for name in ("", "_internal", "_internal._json", "_internal._json._profiles", "common", "compat"):
        module = importlib.import_module(f"ansible.module_utils.{name}".rstrip("."))
        for one in pkgutil.iter_modules(module.__path__):
            if not one.ispkg and one.name not in ("connection", "yumdnf"):
                importlib.import_module(f"{module.__name__}.{one.name}")
    for name in (
        "cryptography.exceptions",
        "jinja2.nativetypes",
        "jinja2.sandbox",
        "packaging.specifiers",
        "requests",
        "yaml",
    ):
        importlib.import_module(name)
    _read_models_once(("ec2", "sts", "ssm"))
    read = [
        name
        for name in ("ansible.constants", "ansible.utils.display", "ansible.plugins.loader")
        if name in sys.modules
    ]
    assert not read, f"{read} would have the settings of this process"


def _import_for_modules(folder: str) -> None:
    """Import what many modules need as they see it: of Ansible what it sends, not what its control node has besides."""
    import importlib
    import importlib.util
    import pkgutil
    from pathlib import Path

    sys.path.pop(0)  # our own folder
    found = importlib.util.find_spec("ansible")
    assert found and found.origin
    sent = Path(folder) / "ansible"
    sent.mkdir()
    (sent / "__init__.py").touch()
    for part in ("module_utils", "modules"):
        (sent / part).symlink_to(Path(found.origin).parent / part)
    sys.path.insert(0, folder)
    import ansible

    sys.path.pop(0)
    assert list(ansible.__path__) == [str(sent)]
    for name in (
        "basic",
        "urls",
        "_internal._ansiballz._loader",
        "common",
        "_internal._json._profiles",
        "compat",
    ):
        module = importlib.import_module(f"ansible.module_utils.{name}")
        for one in pkgutil.iter_modules(getattr(module, "__path__", [])):
            importlib.import_module(f"{module.__name__}.{one.name}")
    amazon = importlib.import_module("ansible_collections.amazon.aws.plugins.module_utils")
    for one in pkgutil.iter_modules(amazon.__path__):
        importlib.import_module(f"{amazon.__name__}.{one.name}")
    sys.meta_path.append(_Sent)

    import warnings

    with warnings.catch_warnings(action="ignore"):  # it knows fewer versions of requests than there are
        import snowflake.connector  # noqa: F401

    _read_models_once(SERVICES)


def _read_models_once(services: tuple[str, ...]) -> None:
    import functools

    import boto3
    import botocore.loaders

    read = botocore.loaders.JSONFileLoader()
    cached = functools.cache(read.load_file)
    botocore.loaders.JSONFileLoader.load_file = lambda self, file_path: cached(file_path)
    # Not boto3's own session, which a call would find with the settings of this process.
    session = boto3.Session("a", "b", region_name="us-east-1")
    for service in services:
        session.client(service)


def _serve_one(line: socket.socket, size: int, descriptors: list[int], kind: str) -> None:
    import atexit
    import marshal
    import threading
    import traceback

    code, own = 1, os.getpid()
    try:
        with line.makefile("rb") as reader:
            arguments, environment, folder, mask = marshal.loads(reader.read(size))
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        os.umask(mask)
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
            os.close(descriptor)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)

        def follow() -> None:
            if not line.recv(1):
                os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
        if kind == "playbook":
            sys.argv = ["ansible-playbook", *arguments]
            from ansible.cli.playbook import main as play

            play()
        else:
            _run_script(arguments)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        if os.getpid() == own:  # and not what it started to go on without it
            for descriptor in (0, 1, 2):
                os.close(descriptor)
            line.send(bytes([code]))
        os._exit(code)


def _run_script(arguments: list[str]) -> None:
    import types

    sys.argv = arguments or ["-"]
    with open(arguments[0] if arguments else 0, encoding="utf-8", closefd=bool(arguments)) as script:
        text = script.read()
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if arguments:
        main.__file__ = arguments[0]
    exec(compile(text, sys.argv[0], "exec"), main.__dict__)


if __name__ == "__main__":
    serve(*sys.argv[2:])

"""Connectors as processes that start at once: forked from one that has imported what they import.

forked.py serve SOCKET                        imports the connectors, then forks one for each call
forked.py run SOCKET source|destination …     stands for a connector: its pipes are those of the forked process, which ends when
                                              this one does

What is tested is the platform and the connectors' code; that the connectors start by themselves is tested in test_protocol.py.
"""

import ctypes
import json
import os
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1


def run(path: str, arguments: list[str]) -> int:
    ctypes.CDLL(None).prctl(
        PR_SET_PDEATHSIG, signal.SIGKILL
    )  # as connectors do that the platform has started
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        call = json.dumps({"arguments": arguments, "environment": dict(os.environ)}).encode()
        socket.send_fds(line, [len(call).to_bytes(4, "big")], [0, 1, 2])
        line.sendall(call)
        for descriptor in (0, 1, 2):  # the forked process alone decides when a pipe ends
            os.close(descriptor)
        answer = line.recv(1)
        return answer[0] if answer else 1


def serve(path: str) -> None:
    from retailflow_emulators import lean
    from retailflow_emulators.airbyte.destination_snowflake.connector import SnowflakeDestination
    from retailflow_emulators.airbyte.source_postgres.connector import PostgresSource

    lean.start()
    import jsonschema  # noqa: F401

    import retailflow_emulators.airbyte.destination_snowflake.warehouse
    import retailflow_emulators.airbyte.destination_snowflake.writer  # noqa: F401

    connectors = {"source": PostgresSource(), "destination": SnowflakeDestination()}
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        while True:
            line, _ = listener.accept()
            with line:
                size, descriptors, _, _ = socket.recv_fds(line, 4, 3)
                if os.fork() == 0:
                    listener.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _serve_one(line, int.from_bytes(size, "big"), descriptors, connectors)
                for descriptor in descriptors:
                    os.close(descriptor)


def _serve_one(line: socket.socket, size: int, descriptors: list[int], connectors: dict) -> None:  # type: ignore[type-arg]
    import threading

    from retailflow_emulators.airbyte.protocol import main

    code = 1
    try:
        with line.makefile("rb") as reader:
            call = json.loads(reader.read(size))
        os.environ.clear()
        os.environ.update(call["environment"])
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
            os.close(descriptor)

        def follow() -> None:
            if not line.recv(1):
                os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
        kind, *arguments = call["arguments"]
        if kind.startswith("stepwise-"):
            from stepwise import save_often

            save_often()
            kind = kind.removeprefix("stepwise-")
        code = main(connectors[kind], arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        line.send(bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(run(sys.argv[2], sys.argv[3:]))

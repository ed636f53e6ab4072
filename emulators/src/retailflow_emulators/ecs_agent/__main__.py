"""Run the embedded ECS agent: `python -m retailflow_emulators.ecs_agent`; with `health`, say whether it is registered."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from .settings import CONFIG, SettingError, introspection_address, load

log = logging.getLogger("retailflow.ecs_agent")


def _stop(_number: int, _frame: object) -> None:
    # Containers go on running and the state is on the disk, so there is nothing to clean up. A handler may run inside a write to
    # the log, where SystemExit could be lost.
    os._exit(0)


def main(arguments: list[str]) -> int:
    """Run until SIGTERM or SIGINT; 2 on bad settings, 1 where `health` finds none."""
    if arguments == ["health"]:
        from .introspection import health

        if problem := health(introspection_address(os.environ)):
            print(problem, file=sys.stderr)
        return 1 if problem else 0
    if arguments:
        print("usage: python -m retailflow_emulators.ecs_agent [health]", file=sys.stderr)
        return 2
    from .agent import Agent, MismatchError
    from .api import Api
    from .engine import Engine
    from .state import State

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    for noisy in ("botocore", "urllib3", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        settings = load(os.environ, Path(os.environ.get("EMULATED_ECS_CONFIG") or CONFIG))
    except (SettingError, OSError, UnicodeDecodeError) as error:
        log.error("%s", error)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    api = Api(settings)
    agent = Agent(settings, Engine.at(settings.engine), api, api, State(settings.data))
    log.info("embedded ECS agent of %s for the cluster %s", settings.instance_id, settings.cluster)
    try:
        agent.start()
    except MismatchError as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

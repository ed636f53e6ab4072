"""First process of every container: writes authorities, waits for PostgreSQL, tidies up, becomes the given command.

    python -m retailflow_dagster.entrypoint dagster-daemon run

Where ``POSTGRES_AUTHORITY`` holds the certificate of an authority, it is written to the file that ``PGSSLROOTCERT`` names: libpq
takes no other form, and with ``PGSSLMODE=verify-full`` every process of the container refuses a server that it has not signed.
``AIRBYTE_AUTHORITY`` is written to ``AIRBYTE_AUTHORITY_FILE``. ``SNOWFLAKE_AUTHORITY`` is for a Snowflake whose certificate no
public authority has signed: it is written, after the public ones, to the file that ``REQUESTS_CA_BUNDLE`` names, which its
connector and requests read.

Hosts start in any order, and a Dagster process that dies because PostgreSQL is not there yet costs seconds of
processor time at every restart. Nothing may write into the image, so what dbt parsed when it was built is copied
to where dbt may write (`DBT_TARGET_PATH`). Before a code server starts,

- runs that its predecessor left unfinished are marked as failed: their processes ended with it, and the
  queue would otherwise wait for them;
- dbt parses its project once with the environment of this host. The image's own parse does not fit a
  profile that points elsewhere, so that every cycle would parse again.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import certifi
import psycopg2

WAIT_SECONDS = 600
GRPC_INFO_TAG = ".dagster/grpc_info"
#: A host that vanishes closes no connection: the kernel asks for it, and gives up after half a minute.
ALIVE = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",  # milliseconds
}


def database() -> dict[str, str]:
    """Connection parameters of Dagster's own database, from the environment."""
    env = os.environ
    return {
        "host": env["DAGSTER_PG_HOST"],
        "port": env.get("DAGSTER_PG_PORT", "5432"),
        "dbname": env["DAGSTER_PG_DATABASE"],
        "user": env["DAGSTER_PG_USER"],
        "password": env["DAGSTER_PG_PASSWORD"],
        "connect_timeout": "5",
        **ALIVE,
    }


def write_authorities() -> None:
    """Writes the authorities' certificates, so that a reader finds the old ones or the new ones and never half of them."""
    if authority := os.environ.get("POSTGRES_AUTHORITY"):
        _write(os.environ["PGSSLROOTCERT"], authority)
    if authority := os.environ.get("AIRBYTE_AUTHORITY"):
        _write(os.environ["AIRBYTE_AUTHORITY_FILE"], authority)
    if authority := os.environ.get("SNOWFLAKE_AUTHORITY"):
        _write(os.environ["REQUESTS_CA_BUNDLE"], f"{certifi.contents()}\n{authority}\n")


def _write(path: str, certificates: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(path), delete=False, encoding="utf-8") as file:
        file.write(certificates)
    os.replace(file.name, path)


def wait_for_database(seconds: float = WAIT_SECONDS) -> None:
    """Returns once a login succeeds; ends the process with what is wrong after the given seconds."""
    until = time.monotonic() + seconds
    said = ""
    while True:
        try:
            psycopg2.connect(**database()).close()
        except psycopg2.OperationalError as error:
            problem = " ".join(str(error).split())
            if time.monotonic() >= until:
                sys.exit(f"Gave up waiting for Dagster's database after {seconds:.0f} s: {problem}")
            if problem != said:
                print(f"Waiting for Dagster's database: {problem}", flush=True)
                said = problem
            time.sleep(2)
        else:
            return


def fail_orphans() -> int:
    """Marks runs as failed whose worker ran beside the code server that is gone; returns how many."""
    import dagster as dg

    gone = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    with dg.DagsterInstance.get() as instance:
        orphans = [
            run for run in instance.get_runs(dg.RunsFilter(statuses=gone)) if GRPC_INFO_TAG in run.tags
        ]
        for run in orphans:
            instance.report_run_failed(
                run, "The container dagster-dbt was restarted while this run was under way."
            )
    return len(orphans)


def copy_target() -> None:
    """Copies what dbt parsed at the image's build to dbt's target folder, unless it is there."""
    built = Path(os.environ.get("DBT_PROJECT_DIR", ".")) / "target"
    target = Path(os.environ.get("DBT_TARGET_PATH", built))
    if built.is_dir() and not target.exists():
        shutil.copytree(built, target)


def parse_project() -> None:
    """Refreshes dbt's parse cache; the image's manifest serves where that fails."""
    parse = subprocess.run(["dbt", "--quiet", "parse"], cwd=os.environ["DBT_PROJECT_DIR"], timeout=300)
    if parse.returncode:
        print("dbt could not parse its project with this environment: see above.", flush=True)


def main(command: list[str]) -> None:
    """Replaces this process by the command."""
    write_authorities()
    copy_target()
    if os.environ.get("DAGSTER_PG_HOST"):
        wait_for_database()
        if command[1:3] == ["-m", "retailflow_dagster.code_server"]:
            parse_project()
            if orphans := fail_orphans():
                print(f"Marked {orphans} interrupted runs as failed.", flush=True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

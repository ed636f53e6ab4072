"""The entry point `query` of the role postgres, run by Ansible against a server that works, hangs or is gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import small_play
from bench import postgres

ROOT = Path(__file__).parents[2]

ASK = "select count(*) from pg_stat_activity where usename = 'nobody'"


class Server:
    """A running server: the folder above its socket and its first process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def ask(self, *questions: dict[str, Any]) -> list[dict[str, Any]]:
        """Include the entry point once for each set of variables, in one play.

        Returns the two facts of each, the seconds that the question took and the message of a failed task.
        """
        results = [self.folder / f"result-{number}.json" for number in range(len(questions))]
        given = {"postgres_data_dir": str(self.folder), "postgres_superuser": postgres.ADMIN}
        wanted = (
            "{{ {'answer': postgres_query_answer, 'error': postgres_query_error, 'message': ansible_failed_result.msg"
            " | default(''), 'delta': __postgres_query_result.delta} | to_json }}"
        )
        tasks = []
        for question, result in zip(questions, results, strict=True):
            result.unlink(missing_ok=True)
            # Ansible must not template what is in the question.
            query = {"postgres_query": "{% raw %}" + question["postgres_query"] + "{% endraw %}"}
            include = {"include_role": {"name": "postgres", "tasks_from": "query"}}
            write = {"copy": {"content": wanted, "dest": str(result), "mode": "0600"}}
            tasks.append({"block": [include | {"vars": given | question | query}, write], "rescue": [write]})
        # In the play: `ansible-playbook` of the virtual environment passes no PG* of the caller on.
        small_play.run(self.folder, tasks, play={"environment": {"PGPORT": str(self.port)}})
        found = [json.loads(result.read_text()) for result in results]
        for one in found:
            hours, minutes, seconds = one.pop("delta").split(":")
            one["seconds"] = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        return found

    def pid(self) -> int:
        return int(next(self.folder.glob("run/.s.PGSQL.*.lock")).read_text().split()[0])

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the server hang: it takes logins, as the kernel does for it, and never answers them."""
        os.kill(self.pid(), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid(), signal.SIGCONT)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="rfq-", dir="/tmp"))  # a socket's path is short
    (folder / "run").mkdir(mode=0o777)
    folder.chmod(0o777)
    (folder / "run").chmod(0o777)
    settings = postgres.SETTINGS | {"unix_socket_directories": str(folder / "run")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres, "SETTINGS", settings)
        patch.setenv("PGDATABASE", "postgres")
        with postgres.server() as port:
            yield Server(folder, port)
    shutil.rmtree(folder)


def test_the_answer_is_one_value_parsed_from_json(server: Server) -> None:
    questions = {
        "select json_build_object('orders', 12, 'net', '0.10'::text)": {"orders": 12, "net": "0.10"},
        "select 7::bigint": 7,
        "select 'it''s; --\n\\copy {{ mine }}'": "it's; --\n\\copy {{ mine }}",
        "with one as (select 1 as n) select json_agg(n) from one -- a comment": [1],
        "select 1 where false": None,
        "select ''": "",
    }
    found = server.ask(*({"postgres_query": query} for query in questions))
    assert [one["answer"] for one in found] == list(questions.values())
    assert {(one["error"], one["message"]) for one in found} == {("", "")}


def test_a_question_that_fails_is_a_sentence(server: Server) -> None:
    questions = {
        "select 1 from": "syntax error",
        "select n from generate_series(1, 2) as n": "more than one row",
        "select 1 / 0": "division by zero",
        "create table t ()": "syntax error",
        "select pg_sleep(60)": "statement timeout",
        "select pg_create_physical_replication_slot('x') from none": 'relation "none" does not exist',
        "": "syntax error",
    }
    report = {"postgres_query_report_errors": True, "postgres_query_timeout": 4}
    found = server.ask(*({"postgres_query": query} | report for query in questions))
    for one, words in zip(found, questions.values(), strict=True):
        assert words in one["error"] and (one["answer"], one["message"]) == (None, "")
        assert "\n" not in one["error"] and one["seconds"] < 6


def test_a_server_that_hangs_or_is_gone_is_reported_within_ten_seconds(server: Server) -> None:
    one: dict[str, Any] = {"postgres_query": "select 1"}
    report: dict[str, Any] = one | {"postgres_query_report_errors": True}
    gone = {"postgres_data_dir": "/nowhere"}
    with server.stopped():
        reported, failed, absent = server.ask(report, one, report | gone)
    assert reported["error"] and reported["answer"] is None and reported["message"] == ""
    assert "Nothing was changed" in failed["message"] and "docker logs postgres" in failed["message"]
    assert "No such file or directory" in absent["error"]
    assert max(found["seconds"] for found in (reported, failed, absent)) < 10
    (again,) = server.ask(one)
    assert (again["answer"], again["error"]) == (1, "")


def test_an_answer_can_be_waited_for(server: Server) -> None:
    holder = subprocess.Popen(
        ["psql", "-h", server.folder / "run", "-U", postgres.ADMIN, "-d", "postgres"],
        env=os.environ | {"PGPORT": str(server.port), "PGAPPNAME": "batch"},
        stdin=subprocess.PIPE,
    )
    query = {"postgres_query": "select count(*) from pg_stat_activity where application_name = 'batch'"}
    wait = query | {"postgres_query_delay": 1, "postgres_query_report_errors": True}
    leave = (
        "select sum(pg_terminate_backend(pid)::int) from pg_stat_activity where application_name = 'batch'"
    )
    try:
        there, stayed, _, left = server.ask(
            wait | {"postgres_query_wanted": "1", "postgres_query_retries": 20},
            wait | {"postgres_query_wanted": "0", "postgres_query_retries": 1},
            {"postgres_query": leave},
            wait | {"postgres_query_wanted": "0", "postgres_query_retries": 20},
        )
    finally:
        holder.kill()
        holder.wait()
    assert (there["answer"], there["error"], left["answer"], left["error"]) == (1, "", 0, "")
    assert (stayed["answer"], stayed["error"]) == (None, "the answer is 1, not 0.")

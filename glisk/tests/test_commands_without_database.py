"""What every command says when its database is away, or has no tables: one sentence."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import get_commands

from glisk.tests.database import database_url

AUTHOR = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"
OURS = {
    "check_drift": (),
    "check_setup": (),
    "create_api_token": ("maria",),
    "create_roles": (),
    "onboard_author": (AUTHOR, "--prompt", "a prompt"),
    "pipeline_status": (),
    "reconcile_reveals": (),
    "recover_events": (),
    "recover_tokens": (),
    "repair_tokens": ("release", "--token-ids", "1", "--yes"),
    "replay_webhooks": ("--failed",),
    "retry_failed": ("--yes",),
    "manual_reveal": ("--all-ready", "--yes"),
    "reveal_tokens": ("--all-ready", "--yes"),
}
DJANGOS = {
    "changepassword": ("maria",),
    "createsuperuser": ("--noinput", "--username", "maria", "--email", "maria@glisk.example"),
}
# Where there is no node, these say so first.
ASK_THE_NODE_FIRST = {"check_drift", "recover_tokens"}
# Commands run one after the other in one process, as manage.py runs each: its start takes longest.
_RUN = """
import contextlib, io, json, sys
import manage
for command in json.loads(sys.stdin.read()):
    sys.argv = ["manage.py", *command]
    said, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
        try:
            status = manage.main()
        except SystemExit as ended:
            status = ended.code
    print(json.dumps([command[0], status, said.getvalue(), out.getvalue()]))
"""


def run_all(url: str, commands: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, str, str]]:
    """Return status, errors and output by command."""
    given = json.dumps([[name, *arguments] for name, arguments in commands.items()])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv[0] = 'manage.py'\n{_RUN}"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "glisk.settings"},
        input=given,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (status, said, out) for name, status, said, out in answers}


def test_no_command_of_ours_is_left_out() -> None:
    own = {app.name for app in apps.get_app_configs() if "site-packages" not in app.path}
    found = {name for name, app in get_commands().items() if app in own}
    assert found == {*OURS, "migrate", "qcluster"}


@pytest.mark.process
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("place", "words"),
    [("postgres://glisk:hunter2@127.0.0.1:1/glisk", "refused"), ("", "does not exist")],
    ids=["no server", "no such database"],
)
def test_a_database_that_is_away_is_said_in_one_sentence(place: str, words: str) -> None:
    url = place or database_url("no_such_database")
    commands = {**OURS, **DJANGOS, "migrate": ()}
    for name, (status, said, out) in run_all(url, commands).items():
        if name == "check_setup":  # it goes on, and says it of each question
            assert "The database does not answer: " in out
            continue
        assert (status, len(said.splitlines())) == (1, 1), (name, said)
        if name not in ASK_THE_NODE_FIRST:
            assert said.startswith("The database does not answer: ")
            assert words in said
        assert "hunter2" not in said + out


@pytest.mark.process
def test_missing_tables_are_said_in_one_sentence(empty_database: str) -> None:
    for name, (status, said, out) in run_all(empty_database, {**OURS, **DJANGOS}).items():
        if name == "check_setup":
            assert "run `manage.py migrate` first" in out
            continue
        assert (status, len(said.splitlines())) == (1, 1), (name, said)
        if name not in ASK_THE_NODE_FIRST:
            assert said.startswith("The database lacks ")
            assert "run `manage.py migrate` first" in said


@pytest.mark.process
def test_a_fault_of_ours_keeps_its_traceback(transactional_db: None) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", _FAULT],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": database_url()},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "no_such_table" in done.stderr


_FAULT = "from django.db import connection; connection.cursor().execute('TABLE no_such_table')"

"""What an operator meets at every command: help, exit statuses, one sentence for a fault."""

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import get_commands
from django.db import ProgrammingError
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

import manage
from glisk.management.base import at_least
from glisk.tests.database import database_url
from tokens.tests.factories import TokenFactory

AUTHOR = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"
OURS = {
    "canary": ("--yes",),
    "check_drift": (),
    "check_setup": (),
    "create_api_token": ("maria",),
    "create_roles": (),
    "export_provenance": (),
    "onboard_author": (AUTHOR, "--prompt", "a prompt"),
    "pipeline_status": (),
    "reconcile_reveals": (),
    "recover_after_restore": ("--since", "2026-01-01T00:00Z"),
    "recover_events": (),
    "recover_tokens": (),
    "repair_tokens": ("release", "--token-ids", "1", "--yes"),
    "remove_second_factor": ("maria", "--yes"),
    "replay_webhooks": ("--failed",),
    "retry_failed": ("--yes",),
    "manual_reveal": ("--all-ready", "--yes"),
    "reveal_tokens": ("--all-ready", "--yes"),
    "unlock_login": ("maria",),
    "send_test_alert": (),
}
DJANGOS = {
    "changepassword": ("maria",),
    "createsuperuser": ("--noinput", "--username", "maria", "--email", "maria@glisk.example"),
}
NEED_NO_DATABASE = {"send_test_alert"}
# Where there is no node, these say so first.
ASK_THE_NODE_FIRST = {"check_drift", "recover_tokens"}
# Commands run one after the other in one process, as manage.py runs each: its start takes longest.
_RUN = """
import contextlib, io, json, sys
from pathlib import Path
sys.argv[0] = "manage.py"
import manage
from django.conf import settings
from glisk.database import database_settings
for url, command in json.loads(sys.stdin.read()):
    place = database_settings(url=url, embedded_dir=Path(), pool_size=None)
    settings.DATABASES["default"].update(place)
    sys.argv = ["manage.py", *command]
    said, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
        try:
            status = manage.main()
        except SystemExit as ended:
            status = ended.code
    print(json.dumps([status, said.getvalue(), out.getvalue()]))
"""


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Run a command in this process; return its status, output and errors."""
    monkeypatch.setattr(sys, "argv", ["manage.py", *arguments])
    try:
        status = manage.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    return status, *capsys.readouterr()


def test_senseless_options_are_status_1_since_2_means_partly_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ("recover_events", "--from-block", "x"),
        ("check_drift", "--no-such-option"),
        ("replay_webhooks",),
    ):
        status, _, errors = run(monkeypatch, capsys, *arguments)
        assert status == 1
        assert f"usage: manage.py {arguments[0]}" in errors
        assert "Error: " in errors


def test_the_help_explains_in_lines_that_fit_and_lists_the_exit_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output, _ = run(monkeypatch, capsys, "recover_events", "--help")
    assert status == 0
    assert "exit status:" in output
    assert max(map(len, output.splitlines())) <= 100


def test_ctrl_c_ends_a_command_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = ("shell", "--no-imports", "-c", "raise KeyboardInterrupt")
    assert run(monkeypatch, capsys, *stopped) == (130, "", "")


@pytest.mark.django_db(transaction=True)
def test_a_fault_of_ours_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = "from django.db import connection; connection.cursor().execute('TABLE no_such_table')"
    with pytest.raises(ProgrammingError, match="no_such_table"):
        run(monkeypatch, capsys, "shell", "--no-imports", "-c", fault)


def test_no_command_of_ours_is_left_out() -> None:
    own = {app.name for app in apps.get_app_configs() if "site-packages" not in app.path}
    found = {name for name, app in get_commands().items() if app in own}
    assert found == {*OURS, "migrate", "qcluster"}


@pytest.mark.process
def test_a_database_that_is_away_or_empty_is_said_in_one_sentence(empty_database: str) -> None:
    away = "postgres://glisk:hunter2@127.0.0.1:1/glisk"
    commands = {
        name: given for name, given in {**OURS, **DJANGOS}.items() if name not in NEED_NO_DATABASE
    }
    asked = [(away, name) for name in (*commands, "migrate")]
    asked += [(database_url("no_such_database"), "pipeline_status")]
    asked += [(empty_database, name) for name in commands]
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "glisk.settings"},
        input=json.dumps([[url, [name, *commands.get(name, ())]] for url, name in asked]),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hunter2" not in done.stdout
    for (url, name), line in zip(asked, done.stdout.splitlines(), strict=True):
        status, said, out = json.loads(line)
        lacks_tables = url == empty_database
        begins = "The database lacks " if lacks_tables else "The database does not answer: "
        reason = "run `manage.py migrate` first" if lacks_tables else ""
        if name == "check_setup":  # it goes on, and says it of each question
            assert (reason or begins) in out
            continue
        assert (status, len(said.splitlines())) == (1, 1), (name, said)
        if name not in ASK_THE_NODE_FIRST:
            assert said.startswith(begins)
            assert reason in said


def test_a_number_is_read_and_anything_else_refused_in_words() -> None:
    assert at_least(3)(" 4 ") == 4
    for text in ("2", "-5", "", "x", "0x10", "1.5"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"3 or more|not a whole number"):
            at_least(3)(text)


# --- one convention for all: a wrong id is 1 and says so; --dry-run changes nothing -----------

NOBODY, NO_TOKEN = "nobody", "999999"
# What is named is not here: the command with it, and words of its answer.
WRONG = {
    "create_api_token": ((NOBODY,), "no active user nobody"),
    "create_roles": (("--give", NOBODY, "operator"), "no user nobody"),
    "export_provenance": (("--from-id", NO_TOKEN), "No revealed token"),
    "onboard_author": (("0x12", "--prompt", "a prompt"), "not an Ethereum address"),
    "onboard_author ": (("--file", "no-such.csv"), "no-such.csv cannot be read: No such file"),
    "onboard_author  ": ((AUTHOR, "--prompt-file", "no-such.txt"), "no-such.txt cannot be read"),
    "recover_after_restore": (("--since", "yesterday"), "is no time"),
    "remove_second_factor": ((NOBODY, "--yes"), "no user nobody"),
    "repair_tokens": (("release", "--token-ids", NO_TOKEN), "Nothing was done"),
    "repair_tokens ": (("hold", "--token-ids", NO_TOKEN, "--dry-run"), "Nothing was done"),
    "replay_webhooks": (("--event", "whevt_none"), "no event 'whevt_none'"),
    "retry_failed": (("--token-ids", NO_TOKEN), "Nothing was done"),
    "reconcile_reveals": (("--token-ids", NO_TOKEN), "nothing was compared"),
    "reveal_tokens": (("--token-ids", NO_TOKEN, "--yes"), "No token was revealed"),
    "manual_reveal": (("--token-ids", NO_TOKEN, "--yes"), "No token was revealed"),
    "unlock_login": ((NOBODY,), "no user nobody"),
}
# A node, ready tokens or targets of alerts: their own tests let them go through.
NEED_A_WORLD = {
    "check_drift",
    "manual_reveal",
    "reconcile_reveals",
    "recover_after_restore",
    "recover_events",
    "recover_tokens",
    "reveal_tokens",
    "send_test_alert",
}
LOOK_ONLY = {"check_setup", "export_provenance", "pipeline_status"}


@pytest.mark.django_db
@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_here_is_status_1_in_a_sentence_of_ours(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = WRONG[name]
    monkeypatch.setattr("django.db.connections.close_all", lambda: None)
    status, _, errors = run(monkeypatch, capsys, name.strip(), *arguments)
    assert (status, words in errors) == (1, True), errors
    assert len(errors.splitlines()) <= 2
    for foreign in ("Traceback", "Errno", "Error(", "0x12'"):
        assert foreign not in errors


def _rows() -> dict[str, list[Any]]:
    """Return all that stands in the tables of ours and of the logins."""
    return {
        model._meta.label: list(model._base_manager.order_by("pk").values_list())
        for model in apps.get_models()
        if model._meta.managed
    }


@pytest.mark.process
@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(OURS.keys() - LOOK_ONLY))
def test_each_command_that_changes_something_has_a_dry_run_that_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maria = User.objects.create_user("maria", "maria@glisk.example", is_staff=True)
    TOTPDevice.objects.create(user=maria, confirmed=True)
    failed, held = (
        TokenFactory.create(token_id=2, status="failed", generation_error="x"),
        TokenFactory.create(token_id=1, held_at=timezone.now(), hold_reason="wait"),
    )
    assert (held.pk, failed.pk) == (1, 2)
    monkeypatch.setattr("django.db.connections.close_all", lambda: None)
    before = _rows()
    arguments = [each for each in OURS[name] if each != "--yes"]
    status, out, errors = run(monkeypatch, capsys, name, *arguments, "--dry-run")
    assert "unrecognized" not in errors
    assert _rows() == before
    if name not in NEED_A_WORLD:
        assert status == 0, errors
        assert out or errors

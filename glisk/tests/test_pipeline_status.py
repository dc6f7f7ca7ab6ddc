"""The dashboard in a terminal: the same facts, for people and for programs."""

import json
from datetime import timedelta
from io import StringIO
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from glisk.console.management.commands import pipeline_status
from glisk.models import SystemState, WorkerHeartbeat
from glisk.tests.pipeline_world import build_world
from tokens.recovery.progress import Progress, save_progress
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db


def run(*arguments: str, status: int = 0) -> str:
    """Run it to its end, which has this exit status; return what it printed."""
    out = StringIO()
    ended = 0
    try:
        call_command("pipeline_status", *arguments, stdout=out)
    except SystemExit as error:
        ended = int(str(error.code))
    assert ended == status
    return out.getvalue()


def test_tells_people_and_programs_how_it_stands() -> None:
    build_world(2)
    TokenFactory.create(status=TokenStatus.FAILED)
    save_progress(Progress(block=1_234, head=1_240))
    shown = run(status=pipeline_status.TROUBLE)  # by the failed one
    for part in (
        "Ready                 2",
        "Failed                1",
        "reveal            0 waiting",
    ):
        assert part in shown
    assert "broadcast, 2 transactions" in shown
    assert "alive, 0 in flight" in shown
    assert "block 1,234, 6 blocks behind" in shown
    assert "100.00%" in shown
    told = json.loads(run("--json", status=pipeline_status.TROUBLE))  # programs are, too
    assert {count["status"]: count["number"] for count in told["tokens"]}["ready"] == 2
    assert told["batches"][0]["nonce"] == 1
    assert told["chain"]["blocks_behind"] == 6


def test_trouble_has_an_exit_status_of_its_own_its_cause_and_what_to_do() -> None:
    build_world(1)
    assert "All well" in run(status=0)
    reason = "pinata: HTTP 403: API_KEY_REVOKED"
    for key, value, said in (
        ("pause:reveal", {"reason": "gas"}, "\nReveals paused · 1 token waits for "),
        (
            "breaker:pinata",
            {"state": "open", "reason": reason, "code": "API_KEY_REVOKED"},
            "\nUploads paused: Pinata refuses our key for 0 s\n"
            "    pinata: HTTP 403: API_KEY_REVOKED\n    To do: Create a key",
        ),
    ):
        SystemState.objects.create(state_key=key, state_value=value)
        assert said in run(status=pipeline_status.TROUBLE)
        SystemState.objects.filter(pk=key).delete()
    run(status=0)
    long_ago = timezone.now() - timedelta(hours=1)
    SystemState.objects.update(updated_at=long_ago)  # nobody looks at the chain
    run(status=pipeline_status.TROUBLE)
    save_progress(Progress(block=1, head=1))
    WorkerHeartbeat.objects.update(beat_at=long_ago)
    run(status=pipeline_status.TROUBLE)
    WorkerHeartbeat.objects.all().delete()
    shown = run(status=pipeline_status.TROUBLE)
    assert "UTC\n\nNo worker is alive · 1 token waits\n    To do: Start one" in shown


def test_a_terminal_is_coloured_unless_somebody_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    red = "\x1b[31;1mNo worker is alive"
    assert red not in run(status=pipeline_status.TROUBLE)  # a pipe
    assert red in run("--force-color", status=pipeline_status.TROUBLE)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert red in run(status=pipeline_status.TROUBLE)
    assert red not in run("--no-color", status=pipeline_status.TROUBLE)
    monkeypatch.setenv("NO_COLOR", "1")
    assert red not in run(status=pipeline_status.TROUBLE)


def test_programs_are_told_what_is_wrong_first_and_what_to_do() -> None:
    told = json.loads(run("--json", status=pipeline_status.TROUBLE))
    assert list(told)[:2] == ["taken_at", "troubles"]
    worker = told["troubles"][0]
    assert (worker["kind"], worker["title"]) == ("worker", "No worker is alive")
    assert worker["advice"].startswith("Start one")


def test_watching_goes_on_until_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Mock(side_effect=[None, KeyboardInterrupt])
    monkeypatch.setattr(pipeline_status.time, "sleep", waits)
    assert run("--watch", "3").count("Reveals under way") == 2
    assert [call.args for call in waits.call_args_list] == [(3.0,), (3.0,)]
    with pytest.raises(CommandError, match="above 0"):
        run("--watch", "0")

"""What reaches stderr: one line per record, in UTC, and never a secret, whoever wrote it."""

import json
import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from glisk.tests.forks import Forks

pytestmark = pytest.mark.process

SECRET = "hunter2-very-secret"
PROLOGUE = f"""
import logging, logging.config, threading, warnings
import structlog
from glisk.logging import logging_settings
from glisk.logging.redaction import register_secret
SECRET = "{SECRET}"
register_secret(SECRET)
"""
SETUP = """
logging.config.dictConfig(logging_settings(level="INFO", json=sys.argv[1] == "json"))
own, library = structlog.get_logger("glisk.own"), logging.getLogger("library")
"""
# Every way out that a text has; each must end in one record without the secret.
WAYS_OUT = {
    "own event": "own.info(f'event {SECRET}')",
    "own nested value": "own.info('event', detail={'a': ['b', {'c': SECRET}]})",
    "library message": "library.warning(f'says {SECRET}')",
    "library argument": "library.warning('says %s', SECRET)",
    "exception, library": (
        "try: raise ValueError(SECRET)\nexcept ValueError: library.exception('failed')"
    ),
    "chained exception": (
        "try:\n  try: raise ValueError(SECRET)\n  except ValueError as e: raise KeyError from e\n"
        "except KeyError: own.exception('failed')"
    ),
    "uncaught exception": "raise ValueError(SECRET)",
    "uncaught exception in a thread": (
        "def f(): raise ValueError(SECRET)\nt = threading.Thread(target=f); t.start(); t.join()"
    ),
    "warning": "warnings.warn(f'mind {SECRET}')",
}


@cache
def forks() -> Forks:
    return Forks(PROLOGUE, {"PATH": os.environ["PATH"], "TZ": "Asia/Tokyo"})


def run(program: str, form: str = "json") -> str:
    """Run a program after the set-up; return its stderr."""
    done = forks().run(SETUP + program, "-c", form)
    assert done.output == ""
    return done.errors


def records(program: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(program).splitlines()]


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_way_out_for_a_secret(way: str) -> None:
    for form in ("json", "console"):
        output = run(WAYS_OUT[way], form)
        assert output, "nothing was written"
        assert SECRET not in output
    (record,) = records(WAYS_OUT[way])
    assert {"event", "level", "logger", "timestamp"} <= set(record)
    assert "[redacted]" in json.dumps(record)


def test_a_record_that_cannot_be_formatted_is_left_out() -> None:
    assert run("library.warning('says %s %s', SECRET)") == ""


def test_a_record_has_its_keys_apart_and_its_time_in_utc() -> None:
    (record,) = records("own.info('token_revealed', token_id=7, tx_hash='0x' + 'ab' * 32)")
    assert (record["event"], record["token_id"]) == ("token_revealed", 7)
    assert record["tx_hash"] == "0x" + "ab" * 32
    assert (record["level"], record["logger"]) == ("info", "glisk.own")
    assert record["timestamp"].endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(record["timestamp"])
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_bound_context_reaches_library_records_too() -> None:
    program = "structlog.contextvars.bind_contextvars(token_id=7); library.warning('retrying')"
    (record,) = records(program)
    assert (record["event"], record["token_id"]) == ("retrying", 7)


def test_records_below_the_level_are_dropped_and_calls_of_http_clients_too() -> None:
    assert records("own.debug('event'); library.debug('event')") == []
    talk = "for name in ('httpx', 'urllib3.connectionpool', 'web3.providers'):\n"
    assert run(f"{talk}  logging.getLogger(name).info('HTTP Request: GET https://…')") == ""


def test_a_message_from_outside_cannot_forge_a_line_or_command_the_terminal() -> None:
    output = run("library.warning('name\\n2026-01-01T00:00:00Z [info] forged \\x1b[2J')", "console")
    assert len(output.splitlines()) == 1
    assert "\x1b" not in output


_TASK = """
library = logging.getLogger("django-q")
try:
    from django.db import OperationalError
    raise {error}
except Exception as e:
    import traceback
    result = f"{{e}} : {{traceback.format_exc()}}"
    library.error(f"Failed 'tokens.tasks.look' (one-two) - {{result}}")
"""


def test_a_failed_task_has_fields_and_a_traceback_that_can_be_read() -> None:
    program = _TASK.format(error="ValueError(SECRET)")
    (record,) = records(program)
    assert (record["event"], record["level"]) == ("task_failed", "error")
    assert record["task"] == "tokens.tasks.look"
    assert record["exception"].startswith("Traceback (most recent call last):\n")
    assert SECRET not in json.dumps(record)
    first, *rest = run(program, "console").splitlines()
    assert "task_failed" in first
    assert rest[0] == "Traceback (most recent call last):"


def test_a_task_that_the_database_interrupted_is_a_warning_of_one_line() -> None:
    program = _TASK.format(error="OperationalError('terminating connection')")
    (record,) = records(program)
    assert (record["event"], record["level"]) == ("task_interrupted", "warning")
    assert record["error"] == "terminating connection"
    assert "exception" not in record

    program = program.replace("library.error(f", "library.exception('Could not save'); (f")
    (record,) = records(program)
    assert (record["event"], record["level"]) == ("Could not save", "warning")
    assert record["error"] == "terminating connection"
    assert "exception" not in record

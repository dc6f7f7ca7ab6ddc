"""What an operator meets at every command: help, senseless options, exit statuses."""

import argparse
import subprocess
import sys

import pytest
from django.conf import settings

from glisk.management.base import at_least


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [
        ("recover_events", "--from-block", "x"),
        ("check_drift", "--no-such-option"),
        ("replay_webhooks",),
    ],
)
def test_senseless_options_are_status_1_since_2_means_partly_done(
    arguments: tuple[str, ...],
) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert f"usage: manage.py {arguments[0]}" in done.stderr
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.process
def test_the_help_explains_in_lines_that_fit_and_lists_the_exit_statuses() -> None:
    done = run("recover_events", "--help")
    assert done.returncode == 0
    assert "exit status:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.process
def test_ctrl_c_ends_a_command_without_a_traceback() -> None:
    done = run("shell", "--no-imports", "-c", "raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(("text", "value"), [("3", 3), (" 4 ", 4)])
def test_a_number_is_read(text: str, value: int) -> None:
    assert at_least(3)(text) == value


@pytest.mark.parametrize("text", ["2", "-5", "", "x", "0x10", "1.5"])
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"3 or more|not a whole number"):
        at_least(3)(text)

"""The command check_drift: what it tells, and its exit codes."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from sandbox.chain import DemoChain
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.recovery.stage import lose, reveal

pytestmark = pytest.mark.django_db


def command(*arguments: str) -> tuple[str, int]:
    output = io.StringIO()
    try:
        call_command("check_drift", *arguments, stdout=output)
    except CommandError as error:
        return output.getvalue(), error.returncode
    return output.getvalue(), 0


def test_the_command_says_that_all_is_well(history: DemoChain) -> None:
    told, status = command()
    assert status == 0
    assert "tokens 1 to 6; the mint events cover them exactly. 6 tokens compared." in told


def test_the_command_names_differences_and_what_to_do(history: DemoChain) -> None:
    reveal(history, 2)
    lose(4, 5, 6)
    told, status = command()
    assert status == 2
    assert "do NOT cover them exactly" in told
    assert "ids 4 to 6 have no row" in told
    assert "revealed_by_others: 1" in told
    assert "recover_tokens" in told
    assert command("--repair")[1] == 2
    assert Token.objects.get(pk=2).status == TokenStatus.REVEALED
    call_command("recover_tokens", stdout=io.StringIO())
    assert command()[1] == 0

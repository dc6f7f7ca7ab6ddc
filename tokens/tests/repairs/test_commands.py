"""The commands that repair tokens: choice, questions about money, summary, exit status."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from sandbox.node import free_port
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.repairs.stock import failed, with_artefacts
from tokens.tests.stage import status

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def refused(*arguments: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return caught.value


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A person before the screen, who answers as the test says."""

    def answer(text: str) -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda question: text)

    return answer


def test_a_dry_run_names_the_cost_and_does_nothing(settings: Settings) -> None:
    settings.GENERATION_COST_USD, settings.REPLICATE_PRICES = 0.5, {}
    paying, free = failed(TokenStatus.GENERATING), failed(TokenStatus.UPLOADING)
    text = run("retry_failed", "--dry-run")
    assert "2 tokens would be done, 0 would be skipped, 1 new prediction, about 0.50" in text
    assert f"1 (#{free.pk}): Back to its upload" in text
    assert {status(paying), status(free)} == {TokenStatus.FAILED}


def test_the_cost_is_that_of_the_service_that_makes_the_images(settings: Settings) -> None:
    settings.IMAGE_SERVICE, settings.SELFHOSTED_PRICE_USD = "selfhosted", "0.25"
    failed(TokenStatus.GENERATING)
    assert "1 new prediction, about 0.250" in run("retry_failed", "--dry-run")


def test_what_costs_nothing_is_done_unasked() -> None:
    token = failed(TokenStatus.UPLOADING)
    paying = failed(TokenStatus.GENERATING)
    assert "1 token done, 0 skipped, 0 new predictions" in run("retry_failed", "--stage=uploading")
    assert status(token) == TokenStatus.UPLOADING
    assert status(paying) == TokenStatus.FAILED


def test_money_is_asked_for_first(terminal: Any) -> None:
    token = failed(TokenStatus.GENERATING)
    without = refused("retry_failed")
    assert without.returncode == 1
    assert "1 new prediction" in str(without)
    assert "--yes" in str(without)
    terminal("n")
    assert refused("retry_failed").returncode == 1
    assert status(token) == TokenStatus.FAILED
    terminal("y")
    assert "1 token done" in run("retry_failed")
    assert status(token) == TokenStatus.GENERATING


def test_yes_answers_the_question() -> None:
    failed(TokenStatus.GENERATING, error_class="transient")
    other = failed(TokenStatus.GENERATING, error_class="content_policy")
    run("retry_failed", "--error-class", "transient", "--yes", "--reason", "well again")
    assert Token.objects.filter(status=TokenStatus.GENERATING).count() == 1
    assert status(other) == TokenStatus.FAILED


def test_named_tokens_that_are_skipped_are_told_why() -> None:
    good, wrong = failed(TokenStatus.UPLOADING), TokenFactory.create()
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("retry_failed", f"--token-ids={good.pk},{wrong.pk}", stdout=out)
    assert caught.value.returncode == 2
    assert f"token {wrong.pk} skipped: It has not failed" in out.getvalue()
    assert "1 token done, 1 skipped" in out.getvalue()
    assert status(good) == TokenStatus.UPLOADING


def test_senseless_numbers_are_refused() -> None:
    for text in ("", "x", "0", "5-3", "1,,2", "-1", "1-99999999999"):
        assert "token numbers" in str(refused("retry_failed", f"--token-ids={text}"))


def test_tokens_are_held_released_failed_and_regenerated_by_number() -> None:
    token = with_artefacts(TokenStatus.READY)
    number = f"--token-ids={token.pk}"
    run("repair_tokens", "hold", number, "--reason", "wait")
    assert Token.objects.get(pk=token.pk).hold_reason == "wait"
    run("repair_tokens", "release", number)
    assert Token.objects.get(pk=token.pk).held_at is None
    assert "1 new prediction" in run(
        "repair_tokens", "regenerate", number, "--reason=odd", "--dry-run"
    )
    assert refused("repair_tokens", "regenerate", number, "--reason=odd").returncode == 1
    assert status(token) == TokenStatus.READY
    run("repair_tokens", "regenerate", number, "--reason=odd", "--yes")
    assert status(token) == TokenStatus.GENERATING
    run("repair_tokens", "fail", number, "--reason", "enough")
    assert status(token) == TokenStatus.FAILED
    assert refused("repair_tokens", "fail", number, "--reason", "enough").returncode == 1


def test_what_needs_a_reason_demands_it() -> None:
    for action in ("regenerate", "hold", "fail"):
        assert "--reason" in str(refused("repair_tokens", action, "--token-ids=1"))


def test_a_node_that_does_not_answer_ends_the_recheck(settings: Settings) -> None:
    settings.RPC_URL = f"http://127.0.0.1:{free_port()}"
    token = TokenFactory.create()
    error = refused("repair_tokens", "recheck", f"--token-ids={token.pk}")
    assert error.returncode == 1
    assert "could not be read" in str(error)

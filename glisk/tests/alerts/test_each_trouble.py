"""Each kind of trouble is told when it begins and when it ends, with the way to its remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import resolve
from django.utils import timezone
from pytest_django import Settings

from glisk.breaker import Breaker
from glisk.console.overview import read_troubles
from glisk.console.overview.causes import LEVELS, PAGE, WARN, Trouble
from glisk.engine.heartbeat import end_alarm, raise_alarm
from glisk.errors import AccountError, TransientError
from glisk.models import Alert, SystemState, WorkerHeartbeat
from glisk.pauses import SPEND_GUARD, pause_stage, resume_stage
from glisk.rate_limit import RateLimit
from glisk.tests.alerts.conftest import Told
from glisk.tests.asking import beat
from tokens.models import Token
from tokens.recovery.progress import Progress, save_progress
from tokens.repairs import hold_tokens, release_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import MintEventFactory, TokenFactory
from webhooks.authentication import alarm_of
from webhooks.models import WebhookEvent

pytestmark = [pytest.mark.django_db, pytest.mark.pages, pytest.mark.usefixtures("all_is_well")]
LONG = timedelta(minutes=7)


def old(status: TokenStatus, age: timedelta = LONG) -> Token:
    token: Token = TokenFactory.create(status=status)
    Token.objects.filter(pk=token.pk).update(status_changed_at=timezone.now() - age)
    return token


def _forget(key: str) -> None:
    SystemState.objects.filter(pk=key).delete()


def _stop_generation() -> None:
    WorkerHeartbeat.objects.filter(stage="generation").delete()
    old(TokenStatus.DETECTED, timedelta(minutes=1))  # no drain, but not without progress yet


def _limit() -> None:
    limit = RateLimit("replicate", per_minute=0)
    limit.take(1)
    error = TransientError("HTTP 429", vendor="replicate", rate_limited=True)
    limit.refused(error, age_seconds=0)
    TokenFactory.create(status=TokenStatus.DETECTED)


def _held() -> None:
    token = TokenFactory.create(status=TokenStatus.READY)
    hold_tokens(token_ids=[token.pk], actor="ada", reason="the author asks us to wait")


def _release() -> None:
    ids = list(Token.objects.values_list("pk", flat=True))
    release_tokens(token_ids=ids, actor="ada", reason="the author agrees")


KINDS: dict[str, tuple[Callable[[], object], Callable[[], object], str]] = {
    "worker": (_stop_generation, lambda: beat("generation"), "/admin/glisk/workerheartbeat/"),
    "chain": (
        lambda: SystemState.objects.update(updated_at=timezone.now() - LONG),
        lambda: save_progress(Progress(block=2, head=2)),
        "/admin/",
    ),
    "keeper": (
        lambda: SystemState.put("keeper", {"status": "empty", "reason": "The keeper has 0 ETH."}),
        lambda: _forget("keeper"),
        "/admin/",
    ),
    "breaker": (
        lambda: Breaker("pinata").failed(AccountError("HTTP 401", vendor="pinata", status=401)),
        lambda: _forget("breaker:pinata"),
        "/admin/glisk/systemstate/controls/",
    ),
    "tokens": (
        lambda: old(TokenStatus.UPLOADING),
        lambda: Token.objects.all().delete(),
        "/admin/tokens/token/?attention=stuck",
    ),
    "pause": (
        lambda: pause_stage("upload", actor="operator ada", reason="the moon is full"),
        lambda: resume_stage("upload", actor="operator ada", reason="it is not"),
        "/admin/glisk/systemstate/controls/",
    ),
    "limit": (_limit, lambda: _forget("limit:replicate"), "/admin/glisk/systemstate/controls/"),
    "alarm": (
        lambda: raise_alarm("clock", headline="The clocks differ", advice="Set them."),
        lambda: end_alarm("clock"),
        "/admin/",
    ),
    "held": (_held, _release, "/admin/tokens/token/?attention=held"),
    "failed": (
        lambda: TokenFactory.create(status=TokenStatus.FAILED, error_class="storage"),
        lambda: Token.objects.all().delete(),
        "/admin/tokens/token/?failed=storage",
    ),
    "webhook": (
        lambda: MintEventFactory.create(source="backfill", block_timestamp=timezone.now() - LONG),
        lambda: WebhookEvent.objects.create(event_id="e", body=b"", status="processed"),
        "/admin/webhooks/webhookevent/",
    ),
}


@pytest.mark.parametrize("kind", LEVELS)
def test_it_is_told_when_it_begins_and_when_it_ends(kind: str, told: Told) -> None:
    happen, end, page = KINDS[kind]
    happen()
    (trouble,) = read_troubles()
    assert trouble.kind == kind
    (begun,) = told.now()
    assert begun["title"] == f"{trouble.level.upper()} [GLISK LOCAL] {trouble.headline}"
    assert begun["type"] == {PAGE: "failure", WARN: "warning"}[trouble.level]
    link = next(line for line in begun["message"].splitlines() if line.startswith("Admin: "))
    address = link.removeprefix("Admin: https://glisk.example")
    assert address.startswith(page)
    assert resolve(urlsplit(address).path).app_name == "admin"
    assert f"Runbook: docs/runbook.md#problem-{kind}" in begun["message"].splitlines()
    assert told.now() == []  # once
    end()
    assert read_troubles() == []
    (ended,) = told.now()
    assert ended["title"] == f"OVER [GLISK LOCAL] {trouble.headline}"
    assert ended["type"] == "success"
    assert told.now() == []
    assert Alert.objects.get().ended_at is not None


def test_each_kind_has_its_entry_in_the_runbook() -> None:
    """GitHub makes the anchor `problem-worker` of the heading `Problem: worker`."""
    text = (Path(django_settings.BASE_DIR) / "docs" / "runbook.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("### Problem: ")]
    assert sorted(headings) == sorted(f"### Problem: {kind}" for kind in LEVELS)


def test_no_kind_is_without_a_level() -> None:
    with pytest.raises(KeyError):
        Trouble("unheard_of", "name", "headline")


def test_maintenance_and_what_no_mint_waits_for_wake_nobody(told: Told, settings: Settings) -> None:
    settings.ALERT_PAGE_URLS, settings.ALERT_URLS = settings.ALERT_URLS, []
    pause_stage("upload", actor="operator ada", reason="the moon is full")
    Breaker("opensea").failed(AccountError("HTTP 401", vendor="opensea", status=401))
    assert told.now() == []
    assert set(Alert.objects.values_list("level", flat=True)) == {WARN}
    pause_stage("generation", actor=SPEND_GUARD, reason="Ten images were of no use.")
    (woken,) = told.now()
    assert "Image generation paused by spend guard" in woken["title"]
    resume_stage("generation", actor="operator ada", reason="mended")
    resume_stage("upload", actor="operator ada", reason="done")
    (over,) = told.now()  # who was woken may sleep on
    assert over["title"].startswith("OVER")


def test_one_message_for_one_cause(told: Told) -> None:
    for _ in range(5):
        old(TokenStatus.UPLOADING)
    (stuck,) = told.now()
    assert "5 tokens affected." in stuck["message"]
    old(TokenStatus.UPLOADING)
    assert told.now() == []


def test_webhooks_that_are_refused_are_not_told_as_missing_too() -> None:
    MintEventFactory.create(source="backfill", block_timestamp=timezone.now() - LONG)
    assert [trouble.kind for trouble in read_troubles()] == ["webhook"]
    raise_alarm(alarm_of("Alchemy"), headline="Alchemy's webhooks are refused")
    assert [trouble.kind for trouble in read_troubles()] == ["alarm"]


LITTLE = "The keeper 0x1 has 0.001 ETH, enough for about 40 reveals."
GAS = "The chain asks for 7 gwei per gas, more than REVEAL_MAX_GAS_PRICE_GWEI allows (1)."


@pytest.mark.parametrize(
    ("seen", "reason", "code", "first"),
    [
        ("low", LITTLE, "no_funds", "WARN [GLISK LOCAL] The keeper's ETH runs low"),
        (
            "empty",
            "The keeper 0x1 has 0.0 ETH.",
            "no_funds",
            "PAGE [GLISK LOCAL] Reveals paused: the keeper has too little ETH",
        ),
        (
            "blocked",
            GAS,
            None,
            "WARN [GLISK LOCAL] Reveals paused: gas costs more than our limit",
        ),
    ],
)
def test_the_keeper_is_one_cause_before_and_while_reveals_wait_for_it(
    told: Told, seen: str, reason: str, code: str | None, first: str
) -> None:
    """The next batch meets what the look at the keeper saw: no second message, no false end."""
    SystemState.put("keeper", {"status": seen, "reason": reason})
    (begun,) = told.now()
    assert begun["title"] == first
    TokenFactory.create(status=TokenStatus.READY)
    Breaker("chain").failed(AccountError(reason, vendor="chain", code=code))
    (trouble,) = read_troubles()
    assert (trouble.level, trouble.remedy, trouble.tokens) == (PAGE, "reset_breaker", 1)
    worse = told.now()
    assert [each["title"].split()[0] for each in worse] == ["PAGE"] * first.startswith("WARN")
    assert told.now() == []
    Token.objects.all().delete()
    _forget("keeper")
    _forget("breaker:chain")
    (over,) = told.now()
    assert over["title"].startswith("OVER")


def test_no_page_waits_because_of_warnings_or_of_another_cause(told: Told) -> None:
    SystemState.put("keeper", {"status": "low", "reason": LITTLE})
    assert [each["title"].split()[0] for each in told.now()] == ["WARN"]
    _forget("keeper")
    assert [each["title"].split()[0] for each in told.now()] == ["OVER"]
    for reason, code in ((GAS, None), (LITTLE, "no_funds")):
        Breaker("chain").failed(AccountError(reason, vendor="chain", code=code))
        assert [each["title"].split()[0] for each in told.now()] == ["PAGE"]
        _forget("breaker:chain")
        assert [each["title"].split()[0] for each in told.now()] == ["OVER"]


def test_a_page_of_which_a_warning_is_left_is_over(told: Told) -> None:
    SystemState.put("keeper", {"status": "low", "reason": LITTLE})
    Breaker("chain").failed(AccountError(LITTLE, vendor="chain", code="no_funds"))
    (begun,) = told.now()
    assert begun["title"].startswith("PAGE")
    _forget("breaker:chain")
    (over,) = told.now()
    assert over["title"] == f"OVER {begun['title'].removeprefix('PAGE ')}"
    assert told.now() == []  # not again so soon
    assert Alert.objects.get(ended_at=None).level == WARN


def test_the_dashboard_shows_the_level(admin_client: Client) -> None:
    pause_stage("upload", actor="operator ada", reason="the moon is full")
    old(TokenStatus.READY)
    text = admin_client.get("/admin/dashboard/").content.decode()
    assert 'title="It can wait until the morning">can wait<' in text
    assert 'title="Somebody has to act now">act now<' in text

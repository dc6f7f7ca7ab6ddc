"""Whatever makes tokens wait is named: on the dashboard, in the terminal, on the token's page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from glisk.breaker import Breaker
from glisk.console.overview import read_troubles
from glisk.console.overview.causes import missing_webhooks
from glisk.console.overview.stages import groups
from glisk.engine.heartbeat import LASTS_SECONDS, end_alarm, raise_alarm
from glisk.errors import AccountError, TransientError
from glisk.models import SystemState, WorkerHeartbeat
from glisk.pauses import pause_stage
from glisk.rate_limit import RateLimit
from glisk.tests.alarms import alarms
from glisk.tests.asking import ask, beat
from glisk.tests.pipeline_world import add_ready_token
from reveals.keeper import KeeperState
from reveals.models import RevealTransaction
from tokens.models import ImageGenerationJob, MintEvent, Token
from tokens.models.job import JobStatus
from tokens.recovery.progress import Progress, save_progress
from tokens.repairs import hold_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import MintEventFactory, TokenFactory
from tokens.tests.plans import assert_uses, plans, table
from webhooks.models import WebhookEvent

__all__ = ["plans", "table"]

pytestmark = [pytest.mark.django_db, pytest.mark.pages]
LONG = timedelta(minutes=7, seconds=5)


@pytest.fixture(autouse=True)
def _well(request: pytest.FixtureRequest) -> None:
    if "table" not in request.fixturenames:
        beat("supervisor", "generation", "upload", "reveal")
    save_progress(Progress(block=1, head=1))


def old(status: TokenStatus, **facts: object) -> Token:
    """Make a token that has been in its state for long."""
    return _aged(TokenFactory.create(status=status, **facts))


def _aged(token: Token) -> Token:
    Token.objects.filter(pk=token.pk).update(status_changed_at=timezone.now() - LONG)
    token.refresh_from_db()
    return token


def _break(name: str, reason: str) -> None:
    status = int(reason.removeprefix("HTTP ")) if reason.startswith("HTTP ") else None
    Breaker(name).failed(AccountError(reason, vendor=name, status=status))


def _broken(name: str, reason: str, status: TokenStatus) -> Token:
    _break(name, reason)
    return old(status)


def _paused() -> Token:
    pause_stage("generation", actor="ada", reason="the moon is full")
    return old(TokenStatus.DETECTED)


def _without(*stages: str, status: TokenStatus) -> Token:
    WorkerHeartbeat.objects.filter(stage__in=stages).delete()
    return old(status)


def _held() -> Token:
    token = old(TokenStatus.READY)
    hold_tokens(token_ids=[token.pk], actor="ada", reason="the author asks us to wait")
    return token


def _job(status: JobStatus, **facts: object) -> Token:
    lease = {"lease_owner": "w", "lease_expires_at": timezone.now() + timedelta(minutes=5)}
    token = old(TokenStatus.GENERATING, **lease)
    known = {"prompt": "p", "input": {}, "service": "replicate", "model": "m", "attempt_number": 1}
    job = ImageGenerationJob.objects.create(token=token, status=status, **known, **facts)
    ImageGenerationJob.objects.filter(pk=job.pk).update(created_at=timezone.now() - LONG)
    return token


def _lost_without_listing() -> Token:
    _break("replicate_listing", "HTTP 405")
    token = _job(JobStatus.CREATED)
    why = "replicate: GET /v1/predictions answered HTTP 405"
    Token.objects.filter(pk=token.pk).update(generation_error=why)
    return token


def _lost_at_a_limit() -> Token:
    _limited("replicate", GENERATION)
    return _job(JobStatus.CREATED)


def _sent(error: str) -> Token:
    token = add_ready_token(1)
    RevealTransaction.objects.update(error=error)
    return _aged(token)


def _keeper(status: str, reason: str) -> Token:
    SystemState.put("keeper", asdict(KeeperState(status=status, reason=reason)))
    return old(TokenStatus.READY)


def _alarmed() -> Token:
    raise_alarm("listing", headline="The listing is refused", stages=("generation",))
    return old(GENERATION)


def _limited(vendor: str, status: TokenStatus) -> Token:
    limit = RateLimit(vendor, per_minute=0)
    limit.take(1)
    error = TransientError("HTTP 429: slow down", vendor=vendor, rate_limited=True)
    limit.refused(error, age_seconds=0)
    return old(status)


def _used_up() -> Token:
    assert RateLimit("pinata", per_minute=60).take(60) == 60
    return old(UPLOAD)


def _capped() -> Token:
    _job(JobStatus.FAILED, cost_usd="0.003")
    ImageGenerationJob.objects.update(created_at=timezone.now())
    return old(TokenStatus.DETECTED)


def _turned_away(error_class: str, words: str) -> Token:
    soon = timezone.now() + timedelta(seconds=90)
    facts = {"error_class": error_class, "generation_error": words, "next_attempt_at": soon}
    return old(TokenStatus.READY, **facts)


GENERATION, UPLOAD, REVEAL = TokenStatus.GENERATING, TokenStatus.UPLOADING, TokenStatus.READY
# A reason, and what is said of it wherever an operator looks.
REASONS: dict[str, tuple[Callable[[], Token], str]] = {
    "generation paused": (_paused, "moon"),
    "replicate's breaker": (lambda: _broken("replicate", "HTTP 402", GENERATION), "Buy credit"),
    "replicate's predictions are not read": (
        lambda: _broken("replicate_reads", "HTTP 403", GENERATION),
        "Image generation paused: Replicate does not say how predictions end",
    ),
    "lost reply and no listing": (_lost_without_listing, "GET /v1/predictions answered HTTP 405"),
    "pinata's breaker": (
        lambda: _broken("pinata", "HTTP 503", UPLOAD),
        "Uploads paused: Pinata is unavailable",
    ),
    "gas cap": (
        lambda: _broken("chain", "The chain asks for 9 gwei per gas", REVEAL),
        "REVEAL_MAX_GAS_PRICE_GWEI",
    ),
    "keeper's funds": (lambda: _keeper("empty", "The keeper has 0.0 ETH."), "keeper has 0.0 ETH"),
    "keeper's role": (lambda: _keeper("blocked", "0x1 has no KEEPER_ROLE"), "grant KEEPER_ROLE"),
    "daily cap": (_capped, "The daily cap of 0.004 USD is reached"),
    "replicate's limit": (
        lambda: _limited("replicate", TokenStatus.DETECTED),
        "Replicate limits the rate",
    ),
    "a limit that is set": (_used_up, "PINATA_REQUESTS_PER_MINUTE is used up"),
    "lost reply at a limit": (_lost_at_a_limit, "The reply to a paid call was lost"),
    "lost reply": (lambda: _job(JobStatus.CREATED), "The reply to a paid call was lost"),
    "long call": (lambda: _job(JobStatus.SUBMITTED, external_id="p1"), "A worker is at it"),
    "backoff": (
        lambda: old(GENERATION, error_class="transient", generation_error="HTTP 500, once more"),
        "HTTP 500, once more",
    ),
    "held": (_held, "the author asks us to wait"),
    "confirmations": (lambda: _turned_away("unconfirmed", "It has 1 of 5."), "It has 1 of 5."),
    "file not there": (lambda: _turned_away("transient", "HTTP 404"), "HTTP 404"),
    "not mined": (lambda: _sent("underpriced"), "underpriced"),
    "no worker": (
        lambda: _without("supervisor", "generation", "upload", "reveal", status=GENERATION),
        "No worker is alive",
    ),
    "generation switched off": (
        lambda: _without("generation", status=TokenStatus.DETECTED),
        "ENABLE_IMAGE_WORKER=true",
    ),
    "no keeper anywhere": (lambda: _without("reveal", status=REVEAL), "ENABLE_REVEAL_WORKER"),
    "what somebody raised": (_alarmed, "The listing is refused"),
    "nobody knows": (lambda: old(UPLOAD), "No error is known"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_waiting_reason_is_named_wherever_an_operator_looks(
    reason: str, admin_client: Client, settings: Settings
) -> None:
    settings.DAILY_SPEND_CAP_USD = 0.004
    settings.PINATA_REQUESTS_PER_MINUTE = 60
    happen, words = REASONS[reason]
    token = happen()
    told = ask(admin_client, token)
    assert told.status == 2
    assert "glisk-alert" in told.dashboard
    for text in (told.dashboard, told.terminal, told.page):
        assert words in text


def test_tokens_that_are_on_their_way_are_no_trouble(
    admin_client: Client, settings: Settings
) -> None:
    WorkerHeartbeat.objects.exclude(stage="supervisor").delete()
    _limited("replicate", TokenStatus.REVEALED)
    assert ask(admin_client).status == 0  # nothing waits for a worker, or at the limit
    SystemState.objects.filter(pk="limit:replicate").delete()
    beat("generation", "upload", "reveal")
    for status in TokenStatus:
        if status != TokenStatus.FAILED:
            TokenFactory.create(status=status)
    add_ready_token(99)
    settings.BATCH_REVEAL_WAIT_SECONDS = LONG.total_seconds()
    old(TokenStatus.READY)  # it waits for company
    told = ask(admin_client, TokenFactory.create(status=TokenStatus.UPLOADING))
    assert told.is_well
    assert "It waits" not in told.page
    settings.BATCH_REVEAL_WAIT_SECONDS = LONG.total_seconds() / 2
    assert "REVEAL_MAX_IN_FLIGHT" in ask(admin_client).terminal


def test_the_alarm_counts_its_tokens_and_they_are_one_click_away(admin_client: Client) -> None:
    stuck = {old(TokenStatus.READY, error_class="artefact").pk for _ in range(2)}
    TokenFactory.create(status=TokenStatus.READY)  # not long enough
    uploading = old(TokenStatus.UPLOADING)
    held = _held()
    told = ask(admin_client)
    assert "2 tokens in reveal without progress for 7 min" in told.terminal
    assert "1 token in upload without progress for 7 min" in told.terminal
    address = r'href="(/admin/tokens/token/[^"]*attention=(?:stuck|held)[^"]*)"'
    found = [
        {token.pk for token in admin_client.get(link).context["cl"].result_list}
        for link in re.findall(address, told.dashboard)
    ]
    assert found == [{uploading.pk}, stuck, {held.pk}]


def test_a_known_cause_says_how_many_wait_for_it(admin_client: Client) -> None:
    _break("pinata", "HTTP 503")
    for _ in range(3):
        old(TokenStatus.UPLOADING)
    told = ask(admin_client)
    assert "3 tokens wait" in told.terminal
    assert "3 tokens wait" in told.dashboard
    assert "without progress" not in told.terminal


@pytest.mark.parametrize("order", [("chain", "rpc"), ("rpc", "chain")])
def test_a_dead_node_is_one_problem_whichever_breaker_opens_first(
    order: tuple[str, str], admin_client: Client
) -> None:
    TokenFactory.create(status=TokenStatus.READY)
    for name in order:
        for _ in range(3):
            Breaker(name).failed(TransientError("No route to it.", vendor="chain"))
        (problem,) = read_troubles()
        assert (problem.kind, problem.name) == ("breaker", "rpc")
    assert problem.title == (
        "New mints not read, reveals paused: the node is unavailable · 1 token waits"
    )
    assert ask(admin_client).dashboard.count("the node is unavailable") == 1


def test_failed_tokens_are_counted_by_what_they_failed_of(admin_client: Client) -> None:
    for _ in range(2):
        token = TokenFactory.create(
            status=TokenStatus.FAILED, error_class="content_policy", generation_error="Refused."
        )
    TokenFactory.create(status=TokenStatus.FAILED, error_class="operator")  # given up by hand
    told = ask(admin_client, token)
    assert told.status == 2
    for text in (told.terminal, told.dashboard):
        assert "2 tokens failed in 24 hours: content policy" in text
        assert "failed in 24 hours: operator" not in text
        assert "FALLBACK_CENSORED_PROMPT" in text
    assert "FALLBACK_CENSORED_PROMPT" in told.page
    Token.objects.update(status_changed_at=timezone.now() - timedelta(hours=25))
    assert ask(admin_client).status == 0


def test_mints_without_a_webhook_are_told_until_one_comes(
    admin_client: Client, settings: Settings
) -> None:
    MintEventFactory.create(source="backfill", block_timestamp=timezone.now() - LONG)
    told = ask(admin_client)
    assert told.status == 2
    for text in (told.terminal, told.dashboard):
        assert "No webhook has ever come" in text
        assert "1 mint came from the chain" in text
    WebhookEvent.objects.create(event_id="e", body=b"", status="processed")
    assert ask(admin_client).status == 0
    moment = timezone.now() - timedelta(hours=2)
    WebhookEvent.objects.update(received_at=moment)
    assert f"No webhook since {moment:%d %b %H:}" in ask(admin_client).terminal
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # a few rows are always read whole
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        with CaptureQueriesContext(connection) as captured:
            missing_webhooks()
        indexes = ("webhook_event_newest", "mint_event_backfilled")
        for index, query in zip(indexes, captured.captured_queries, strict=True):
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert index in plan
            assert "Sort" not in plan
    for ago in (timedelta(seconds=5), timedelta(days=3)):  # of this moment, or of old
        MintEvent.objects.update(block_timestamp=timezone.now() - ago)
        assert missing_webhooks() is None
    MintEvent.objects.update(block_timestamp=timezone.now() - LONG)
    settings.ALCHEMY_WEBHOOK_SECRETS = []
    assert missing_webhooks() is None


def test_an_alarm_keeps_its_beginning_until_it_is_ended_or_nobody_raises_it() -> None:
    raise_alarm("clock", headline="The clocks differ", reason="by 70 s")
    (first,) = alarms()
    raise_alarm("clock", headline="The clocks differ", reason="by 71 s")
    (again,) = alarms()
    assert (again.since, again.reason) == (first.since, "by 71 s")
    raise_alarm("other", headline="Else")
    end_alarm("clock")
    assert [alarm.name for alarm in alarms()] == ["other"]
    past = timezone.now() - timedelta(seconds=LASTS_SECONDS + 1)
    SystemState.objects.update(updated_at=past)
    assert not alarms()
    raise_alarm("other", headline="Else")
    (anew,) = alarms()
    assert anew.since > past


def test_an_alarm_that_holds_no_stage_is_told_all_the_same(admin_client: Client) -> None:
    raise_alarm("clock", headline="The clocks differ", advice="Set them.")
    told = ask(admin_client, TokenFactory.create(status=TokenStatus.UPLOADING))
    assert told.status == 2
    assert "The clocks differ" in told.dashboard
    assert "The clocks differ" not in told.page


@pytest.mark.usefixtures("table")
def test_the_tokens_under_way_are_found_by_an_index(plans: list[str]) -> None:
    with connection.cursor() as cursor:  # most have ended
        cursor.execute("DELETE FROM tokens_s0 WHERE status <> 'revealed' AND token_id % 200 > 9")
        cursor.execute("ANALYZE tokens_s0")
    groups()
    groups(token_id=7)
    under_way, one = plans
    assert not re.search('"Seq Scan",[^{}]*"tokens_s0"', under_way)
    assert_uses(one, "tokens_s0_pkey")

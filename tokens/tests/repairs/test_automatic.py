"""What failed for a passing reason is taken up again without a person, later and later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings

from glisk.engine.schedules import declared
from glisk.pauses import pause_stage, resume_stage
from tokens import tasks
from tokens.models import Token, TokenTransition
from tokens.repairs import fail_by_hand, retry_tokens, retry_what_is_due
from tokens.repairs.retry import AUTOMATIC
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.repairs.stock import failed
from tokens.tests.stage import Start, Vendors, is_failed, is_ready
from tokens.transitions.claims import PASSING_CLASSES, Claim, fail_tokens

pytestmark = pytest.mark.django_db

OPERATOR = "operator ada"
CLASSES = {
    *PASSING_CLASSES,
    *("content_policy", "validation", "artefact", "no_image", "cid_mismatch", "author_differs"),
    *("would_revert", "stalled", "storage", "unexpected", "permanent"),
}


def wait_of(token: Token) -> float | None:
    """Return for how many seconds from now a token waits, by the database's clock."""
    row = Token.objects.filter(pk=token.pk).values_list("next_attempt_at", Now()).get()
    return (row[0] - row[1]).total_seconds() if row[0] else None


def let_time_pass(*tokens: Token) -> None:
    chosen = Token.objects.filter(pk__in=[token.pk for token in tokens])
    chosen.update(next_attempt_at=Now() - timedelta(seconds=1))


def waiting(stage: TokenStatus = TokenStatus.GENERATING, **columns: Any) -> Token:
    """Make a token that failed in a stage for a passing reason, and that is due by now."""
    token = failed(stage, error_class="transient", **columns)
    let_time_pass(token)
    return token


def fail(error_class: str, **columns: Any) -> Token:
    """Let a worker's claim end in a failure of this class."""
    token: Token = TokenFactory.create(
        status=TokenStatus.GENERATING,
        lease_owner="drain",
        lease_expires_at=Now() + timedelta(minutes=1),
        attempts=1,
        **columns,
    )
    claim = Claim(token.pk, 0, 1, token.prompt, 1, False)
    lost = [(claim, "It broke.", error_class)]
    assert fail_tokens(lost, source=TokenStatus.GENERATING, owner="drain") == {token.pk}
    token.refresh_from_db()
    return token


def test_a_fault_of_the_vendor_needs_no_person(
    worker: Start, vendors: Vendors, admin_client: Client
) -> None:
    vendors.replicate.set_faults(crash_rate=1.0)
    token = TokenFactory.create()
    drain = worker()
    drain.until(is_failed(token))
    vendors.replicate.set_faults(crash_rate=0.0)
    assert 590 < (wait_of(token) or 0) <= 600
    page = admin_client.get(f"/admin/tokens/token/{token.pk}/change/").content.decode()
    assert "It is tried again at" in page
    assert tasks.retry_failed() == 0, "its time has not come"
    drain.settle(0.2)
    assert is_failed(token)()

    let_time_pass(token)
    assert "tokens.tasks.retry_failed" in {schedule.func for schedule in declared()}
    assert tasks.retry_failed() == 1
    drain.until(is_ready(token))
    assert vendors.paid == 3 + 1
    again = TokenTransition.objects.get(token=token, from_status="failed")
    assert (again.to_status, again.actor) == ("generating", AUTOMATIC)


@pytest.mark.parametrize(
    ("retries", "seconds"), [(0, 600), (1, 3600), (2, 21_600), (3, None), (30, None)]
)
def test_it_waits_longer_each_time_and_then_for_a_person(
    retries: int, seconds: float | None
) -> None:
    wait = wait_of(fail("transient", automatic_retries=retries))
    assert wait is None if seconds is None else seconds - 10 < (wait or 0) <= seconds


def test_only_what_passes_is_waited_out() -> None:
    waited = {error_class for error_class in CLASSES if wait_of(fail(error_class)) is not None}
    assert waited == PASSING_CLASSES


def test_the_waits_are_a_setting(settings: Settings) -> None:
    for waits in ([], [5.0]):
        settings.RETRY_FAILED_AFTER_SECONDS = waits
        assert (wait_of(fail("transient")) is not None) == bool(waits)
        assert wait_of(fail("transient", automatic_retries=1)) is None


def test_each_retry_counts_until_a_person_helps() -> None:
    token = waiting(automatic_retries=1)
    assert retry_what_is_due() == 1
    token.refresh_from_db()
    assert token.automatic_retries == 2
    Token.objects.filter(pk=token.pk).update(status=TokenStatus.FAILED)
    (result,) = retry_tokens(token_ids=[token.pk], actor=OPERATOR)
    token.refresh_from_db()
    assert result.done
    assert (token.automatic_retries, token.next_attempt_at) == (0, None)


def test_a_stage_that_is_paused_keeps_its_failed_tokens() -> None:
    """The guard against waste has stopped the paying: nothing goes back into it."""
    generation, upload = waiting(), waiting(TokenStatus.UPLOADING)
    pause_stage("generation", actor="spend guard", reason="waste")
    assert retry_what_is_due() == 1
    assert is_failed(generation)()
    upload.refresh_from_db()
    assert upload.status == TokenStatus.UPLOADING
    resume_stage("generation", actor=OPERATOR, reason="mended")
    assert retry_what_is_due() == 1


def test_nothing_goes_back_to_be_paid_above_the_daily_cap(
    settings: Settings, admin_client: Client
) -> None:
    token = waiting()
    settings.DAILY_SPEND_CAP_USD = 0.001
    assert retry_what_is_due() == 0
    assert is_failed(token)()
    page = admin_client.get(f"/admin/tokens/token/{token.pk}/change/").content.decode()
    assert "as soon as its stage works and the daily cap allows it" in page


def test_a_held_token_waits_for_its_release() -> None:
    token = waiting(held_at=Now(), hold_reason="a look")
    assert retry_what_is_due() == 0
    Token.objects.filter(pk=token.pk).update(held_at=None, hold_reason="")
    assert retry_what_is_due() == 1


def test_what_cannot_go_on_is_left_to_a_person() -> None:
    token = waiting(TokenStatus.UPLOADING)
    token.image.delete()
    assert retry_what_is_due() == 0
    assert is_failed(token)()
    assert wait_of(token) is None


def test_a_person_may_end_it() -> None:
    token = waiting()
    (result,) = fail_by_hand(token_ids=[token.pk], actor=OPERATOR, reason="no more")
    assert result.done
    assert retry_what_is_due() == 0
    assert TokenTransition.objects.filter(token=token, reason__contains="no more").exists()
    (second,) = fail_by_hand(token_ids=[token.pk], actor=OPERATOR, reason="no more")
    assert not second.done

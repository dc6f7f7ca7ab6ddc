"""Held tokens wait, with the reason, until somebody lets them go; and tokens given up by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokens.models import ImageGenerationJob, Token
from tokens.models.job import JobStatus
from tokens.repairs import (
    RepairResult,
    fail_by_hand,
    hold_tokens,
    regenerate_tokens,
    release_tokens,
)
from tokens.states import ACTIVE, TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.repairs.stock import (
    ACTOR,
    the_one,
    timeline,
    with_artefacts,
)
from tokens.tests.stage import Start, Vendors, status
from tokens.transitions import claims

pytestmark = pytest.mark.django_db


def hold(*tokens: Token) -> RepairResult:
    return hold_tokens(token_ids=[t.pk for t in tokens], actor=ACTOR, reason="odd prompt")[0]


def release(token: Token) -> RepairResult:
    return the_one(release_tokens(token_ids=[token.pk], actor=ACTOR))


@pytest.mark.parametrize("state", sorted(ACTIVE))
def test_a_hold_is_noted_and_stays_until_the_release(state: TokenStatus) -> None:
    token = with_artefacts(state)
    assert hold(token).done
    token.refresh_from_db()
    assert (token.status, token.hold_reason) == (state, "odd prompt")
    again = hold(token)
    assert (again.done, again.message) == (False, "It is held already: odd prompt")
    assert release(token).done
    token.refresh_from_db()
    assert (token.status, token.held_at, token.hold_reason) == (state, None, "")
    assert release(token).message == "It is not held."
    rows = [(row.from_status, row.to_status, row.reason) for row in timeline(token)]
    assert rows == [(state, state, "held: odd prompt"), (state, state, "released")]


@pytest.mark.parametrize("state", [TokenStatus.REVEALED, TokenStatus.FAILED])
def test_there_is_nothing_to_hold_of_what_does_not_move(state: TokenStatus) -> None:
    token = TokenFactory.create(status=state)
    assert not hold(token).done
    token.refresh_from_db()
    assert token.held_at is None


def test_no_stage_claims_a_held_token() -> None:
    tokens = {state: with_artefacts(state) for state in sorted(ACTIVE)}
    Token.objects.update(next_attempt_at="2100-01-01T00:00Z")
    hold(*tokens.values())
    assert claims.seconds_until_next_attempt(*ACTIVE) is None
    assert not Token.objects.on_their_way().exists()
    Token.objects.update(next_attempt_at=None)
    claim: Callable[..., list[claims.Claim]]
    for claim in (claims.claim_for_generation, claims.claim_for_upload):
        assert claim(owner="w", limit=10) == []
    for token in tokens.values():
        release(token)
    claimed = claims.claim_for_generation(owner="w", limit=10)
    assert {c.token_id for c in claimed} == {
        tokens[TokenStatus.DETECTED].pk,
        tokens[TokenStatus.GENERATING].pk,
    }
    assert len(claims.claim_for_upload(owner="w", limit=10)) == 1


def test_a_prediction_that_is_paid_for_is_fetched_all_the_same(
    worker: Start, vendors: Vendors
) -> None:
    """The vendor deletes it after an hour; the next worker must not leave it there."""
    token, fresh = TokenFactory.create(), TokenFactory.create()
    hold(fresh)
    first = worker()
    first.until(lambda: ImageGenerationJob.objects.filter(status="submitted").exists())
    assert "begun ends first" in hold(token).message
    first.stop()
    second = worker()
    second.until(lambda: ImageGenerationJob.objects.filter(status=JobStatus.CAPTURED).exists())
    second.settle(0.3)
    assert vendors.creations() == vendors.paid == 1
    assert status(fresh) == TokenStatus.DETECTED


def test_a_reason_is_demanded() -> None:
    for repair in (hold_tokens, fail_by_hand, regenerate_tokens):
        with pytest.raises(ValueError, match="Say why"):
            repair(token_ids=[1], actor=ACTOR, reason=" ")


# -- given up by hand -------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(ACTIVE))
def test_a_token_is_failed_with_the_reason_that_is_given(state: TokenStatus) -> None:
    token = with_artefacts(state)
    assert the_one(fail_by_hand(token_ids=[token.pk], actor=ACTOR, reason="no more")).done
    token.refresh_from_db()
    assert (token.status, token.error_class) == (TokenStatus.FAILED, "operator")
    assert token.generation_error == "Failed by hand: no more"
    (row,) = timeline(token)
    assert (row.from_status, row.to_status, row.reason) == (
        state,
        "failed",
        "Failed by hand: no more",
    )
    again = the_one(fail_by_hand(token_ids=[token.pk], actor=ACTOR, reason="no more"))
    assert (again.done, again.message) == (False, "It is failed already.")


def test_a_worker_loses_its_claim_and_what_it_paid_stays_on_record(
    worker: Start, vendors: Vendors
) -> None:
    token = TokenFactory.create()
    drain = worker()
    drain.until(lambda: ImageGenerationJob.objects.filter(status="submitted").exists())
    fail_by_hand(token_ids=[token.pk], actor=ACTOR, reason="no more")
    drain.settle(0.3)
    token.refresh_from_db()
    assert (token.status, token.image_cid) == (TokenStatus.FAILED, None)
    assert ImageGenerationJob.objects.get().cost_usd is not None
    assert vendors.paid == 1

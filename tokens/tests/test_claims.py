"""Claims and leases: nobody works on a token twice, and nothing is held for ever."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tokens.factories import TokenFactory
from tokens.models import Token, TokenTransition
from tokens.states import TokenStatus
from tokens.transitions.claims import (
    Claim,
    claim_for_generation,
    claim_for_upload,
    release_claims,
    release_leases_of,
    renew_leases,
    rescue_stalled,
    seconds_until_due,
)
from tokens.transitions.delays import Retry, retry_later
from tokens.transitions.status import Failed, Lease, Move, fail_tokens, move_tokens

pytestmark = pytest.mark.django_db

CID = "QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"
CLAIMS = [
    pytest.param(claim_for_generation, TokenStatus.DETECTED, id="generation"),
    pytest.param(claim_for_upload, TokenStatus.UPLOADING, id="upload"),
]
Take = Callable[..., list[Claim]]


def in_threads(count: int, work: Callable[[int], list[Claim]]) -> list[list[Claim]]:
    """Run `work` on connections of their own, all started by one barrier."""
    barrier = threading.Barrier(count)

    def run(number: int) -> list[Claim]:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=60)
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("take", "status"), CLAIMS)
def test_no_token_is_claimed_twice(take: Take, status: TokenStatus) -> None:
    TokenFactory.create_batch(60, status=status, mint_event=None)

    def work(number: int) -> list[Claim]:
        claimed: list[Claim] = []
        while found := take(owner=f"w:{number}", limit=3, lease_seconds=60):
            assert len(found) <= 3
            claimed += found
        return claimed

    claimed = [claim.token_id for claims in in_threads(4, work) for claim in claims]
    assert len(claimed) == len(set(claimed)) == 60
    assert TokenTransition.objects.count() == (60 if status == TokenStatus.DETECTED else 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("take", "status"), CLAIMS)
def test_a_claim_passes_by_what_another_transaction_holds(take: Take, status: TokenStatus) -> None:
    held = TokenFactory.create(status=status, mint_timestamp="2026-01-01T00:00Z")
    free = TokenFactory.create(status=status, mint_timestamp="2026-01-02T00:00Z")
    with transaction.atomic():
        list(Token.objects.select_for_update().filter(pk=held.pk))
        # A claim that waited would wait for ever: the lock is held until it is through.
        (claims,) = in_threads(1, lambda _: take(owner="w", limit=5, lease_seconds=60))
    assert [claim.token_id for claim in claims] == [free.token_id]


@pytest.mark.parametrize(("take", "status"), CLAIMS)
def test_a_claim_takes_the_oldest_that_are_due(take: Take, status: TokenStatus) -> None:
    def token(minted: str, **columns: object) -> Token:
        made: Token = TokenFactory.create(status=status, mint_timestamp=minted, **columns)
        return made

    token("2026-01-01T00:00Z", next_attempt_at=timezone.now() + timedelta(hours=1))
    token(
        "2026-01-01T00:00Z",
        lease_owner="other",
        lease_expires_at=timezone.now() - timedelta(hours=1),
    )
    third = token("2026-01-04T00:00Z")
    second = token("2026-01-03T00:00Z")
    first = token("2026-01-02T00:00Z", next_attempt_at=timezone.now() - timedelta(hours=1))
    claims = take(owner="w", limit=2, lease_seconds=60)
    assert {claim.token_id for claim in claims} == {first.token_id, second.token_id}
    (last,) = take(owner="w", limit=2, lease_seconds=60)
    assert last.token_id == third.token_id


def test_a_claim_sets_the_lease_counts_the_attempt_and_tells_what_is_stored() -> None:
    token = TokenFactory.create(
        status=TokenStatus.GENERATING, attempts=2, generation_attempts=1, fallback_used=True
    )
    (claim,) = claim_for_generation(owner="w:1", limit=1, lease_seconds=600)
    assert claim == Claim(token.token_id, 3, "generating", token.prompt, 1, True)
    token.refresh_from_db()
    assert (token.lease_owner, token.attempts) == ("w:1", 3)
    assert token.lease_expires_at is not None
    left = token.lease_expires_at - timezone.now()
    assert timedelta(seconds=500) < left <= timedelta(seconds=600)
    assert not TokenTransition.objects.exists()


def claimed(owner: str = "w:1", lease_seconds: float = 60) -> Claim:
    TokenFactory.create()
    (claim,) = claim_for_generation(owner=owner, limit=1, lease_seconds=lease_seconds)
    return claim


def test_only_expired_leases_are_rescued_and_everything_else_stays() -> None:
    live, dead = claimed(), claimed(lease_seconds=-1)
    Token.objects.filter(pk=dead.token_id).update(generation_attempts=2)
    assert rescue_stalled() == 1
    assert Token.objects.get(pk=live.token_id).lease_owner == "w:1"
    token = Token.objects.get(pk=dead.token_id)
    assert (token.lease_owner, token.lease_expires_at) == (None, None)
    assert (token.status, token.attempts, token.generation_attempts) == ("generating", 1, 2)


def test_the_leases_of_a_dead_process_tree_are_freed_and_no_others() -> None:
    mine, other = claimed("host:12:34:a"), claimed("host:123:4:b")
    assert release_leases_of("host:12:") == 1
    assert Token.objects.get(pk=mine.token_id).lease_owner is None
    assert Token.objects.get(pk=mine.token_id).attempts == 1
    assert Token.objects.get(pk=other.token_id).lease_owner == "host:123:4:b"


def test_a_renewal_prolongs_only_what_the_owner_names() -> None:
    known, unheard = claimed(lease_seconds=5), claimed(lease_seconds=5)
    foreign = claimed("w:2", lease_seconds=5)
    ids = [known.token_id, foreign.token_id]
    assert renew_leases(owner="w:1", token_ids=ids, lease_seconds=600) == 1
    soon = timezone.now() + timedelta(seconds=60)
    late = Token.objects.filter(lease_expires_at__gt=soon).values_list("pk", flat=True)
    assert list(late) == [known.token_id]
    assert unheard.token_id not in late


def test_a_claim_given_back_in_order_is_not_counted() -> None:
    claim = claimed()
    assert release_claims(owner="w:2", token_ids=[claim.token_id]) == 0
    assert release_claims(owner="w:1", token_ids=[claim.token_id]) == 1
    token = Token.objects.get(pk=claim.token_id)
    assert (token.lease_owner, token.attempts, token.status) == (None, 0, "generating")


@pytest.mark.parametrize(
    ("owner", "attempts"), [("w:2", 1), ("w:1", 2), ("w:1", 0)], ids=["owner", "newer", "older"]
)
def test_a_stale_owner_changes_nothing(owner: str, attempts: int) -> None:
    claim = claimed()
    before = Token.objects.values().get()
    move = Move(
        token_id=claim.token_id,
        attempts=attempts,
        fields={"image_cid": CID, "generation_error": None},
    )
    moved = move_tokens(
        [move],
        source=TokenStatus.GENERATING,
        target=TokenStatus.UPLOADING,
        actor=owner,
        lease=Lease(owner),
    )
    failed = fail_tokens(
        [Failed(claim.token_id, attempts, "x", "permanent")],
        source=TokenStatus.GENERATING,
        owner=owner,
    )
    retried = retry_later([Retry(claim.token_id, attempts, 1.0, "x", "transient")], owner=owner)
    assert moved == failed == retried == set()
    assert Token.objects.values().get() == before
    assert TokenTransition.objects.count() == 1


def test_a_finish_under_the_lease_moves_and_lets_go_or_keeps_it() -> None:
    for keep, lease in ((False, (None, 0)), (True, ("w:1", 1))):
        claim = claimed()
        move = Move(claim.token_id, claim.attempts, fields={"image_cid": CID})
        moved = move_tokens(
            [move],
            source=TokenStatus.GENERATING,
            target=TokenStatus.UPLOADING,
            actor="w:1",
            lease=Lease("w:1", keep=keep),
        )
        assert moved == {claim.token_id}
        token = Token.objects.get(pk=claim.token_id)
        assert (token.lease_owner, token.attempts) == lease


def test_a_retry_waits_and_is_counted_or_leaves_no_trace() -> None:
    counted, silent = claimed(), claimed()
    retry_later(
        [
            Retry(counted.token_id, 1, 500.0, "It broke.", "transient", generation_attempts=2),
            Retry(silent.token_id, 1, 0.0, "It is down.", "vendor_down", counted=False),
        ],
        owner="w:1",
    )
    first, second = Token.objects.get(pk=counted.token_id), Token.objects.get(pk=silent.token_id)
    assert first.error_log == [{"error_class": "transient", "error": "It broke."}]
    assert (first.lease_owner, first.attempts, first.generation_attempts) == (None, 0, 2)
    assert first.next_attempt_at is not None
    assert first.next_attempt_at > timezone.now() + timedelta(seconds=400)
    assert second.error_log == []
    assert second.generation_error == "It is down."
    noted = TokenTransition.objects.filter(reason__in=["It broke.", "It is down."])
    assert [row.token_id for row in noted] == [counted.token_id]
    assert [c.token_id for c in claim_for_generation(owner="w", limit=9, lease_seconds=9)] == [
        silent.token_id
    ]


def test_the_next_attempt_is_the_soonest_in_the_future() -> None:
    assert seconds_until_due() == (None, None)
    now = timezone.now()
    TokenFactory.create(next_attempt_at=now + timedelta(minutes=30))
    TokenFactory.create(status=TokenStatus.UPLOADING, next_attempt_at=now + timedelta(minutes=9))
    TokenFactory.create(status=TokenStatus.READY, next_attempt_at=now + timedelta(minutes=2))
    TokenFactory.create(next_attempt_at=now - timedelta(minutes=5))  # due: a claim takes it
    seconds, _ = seconds_until_due()
    assert seconds is not None
    assert 7 * 60 < seconds <= 9 * 60

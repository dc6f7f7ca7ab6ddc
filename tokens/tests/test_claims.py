"""Claims and leases: nobody works on a token twice, and nothing is held for ever."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from glisk.errors import InvalidRequestError, TransientError
from glisk.tests.waiting import at_once
from tokens.models import ImageGenerationJob, Token, TokenTransition
from tokens.models.job import JobStatus
from tokens.pipeline.failures import Failure, settle_failures
from tokens.pipeline.find import look_for
from tokens.pipeline.image_vendors import OpenJobs
from tokens.pipeline.jobs import close_jobs, record_submitted
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32
from tokens.transitions.chain import name_transactions
from tokens.transitions.claims import (
    Claim,
    Refusal,
    Retry,
    claim_for_generation,
    claim_for_upload,
    claim_jobs,
    fail_tokens,
    forget_refusals,
    free_all_but,
    give_back,
    postpone_reveals,
    release_leases_of,
    renew_leases,
    rescue_stalled,
    retry_later,
    seconds_until_next_attempt,
    still_ours,
)
from tokens.transitions.status import Move, move_tokens

pytestmark = pytest.mark.django_db

CID = "QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"
CLAIMS = [
    pytest.param(claim_for_generation, TokenStatus.DETECTED, id="generation"),
    pytest.param(claim_for_upload, TokenStatus.UPLOADING, id="upload"),
]
Take = Callable[..., list[Claim]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("take", "status"), CLAIMS)
def test_no_token_is_claimed_twice(take: Take, status: TokenStatus) -> None:
    TokenFactory.create_batch(60, status=status, mint_event=None)

    def work(number: int) -> list[Claim]:
        claimed: list[Claim] = []
        while found := take(owner=f"w:{number}", limit=3):
            assert len(found) <= 3
            claimed += found
        return claimed

    claimed = [claim.token_id for claims in at_once(4, work) for claim in claims]
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
        (claims,) = at_once(1, lambda _: take(owner="w", limit=5))
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
    claims = take(owner="w", limit=2)
    assert {claim.token_id for claim in claims} == {first.token_id, second.token_id}
    (last,) = take(owner="w", limit=2)
    assert last.token_id == third.token_id


def test_a_claim_sets_the_lease_counts_the_attempt_and_tells_what_is_stored() -> None:
    token = TokenFactory.create(
        status=TokenStatus.GENERATING, attempts=2, generation_attempts=1, fallback_used=True
    )
    (claim,) = claim_for_generation(owner="w:1", limit=10)
    assert claim == Claim(token.token_id, 1, 3, token.prompt, 1, True)
    token.refresh_from_db()
    assert (token.lease_owner, token.lease_number, token.attempts) == ("w:1", 1, 3)
    assert token.lease_expires_at is not None
    left = token.lease_expires_at - timezone.now()
    assert timedelta(seconds=50) < left <= timedelta(seconds=60)
    assert not TokenTransition.objects.exists()


def claimed(owner: str = "w:1") -> Claim:
    TokenFactory.create()
    (claim,) = claim_for_generation(owner=owner, limit=1)
    return claim


def let_leases_end(*claims: Claim, in_seconds: float) -> None:
    Token.objects.filter(pk__in=[claim.token_id for claim in claims]).update(
        lease_expires_at=timezone.now() + timedelta(seconds=in_seconds)
    )


def test_only_expired_leases_are_rescued_and_everything_else_stays() -> None:
    live, dead = claimed(), claimed()
    let_leases_end(dead, in_seconds=-1)
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
    known, unheard, foreign = claimed(), claimed(), claimed("w:2")
    let_leases_end(known, unheard, foreign, in_seconds=5)
    ids = [known.token_id, foreign.token_id]
    assert renew_leases(owner="w:1", token_ids=ids) == 1
    soon = timezone.now() + timedelta(seconds=30)
    late = Token.objects.filter(lease_expires_at__gt=soon).values_list("pk", flat=True)
    assert list(late) == [known.token_id]
    assert unheard.token_id not in late


def test_a_claim_given_back_in_order_is_not_counted() -> None:
    claim = claimed()
    assert give_back([claim], owner="w:2") == 0
    assert give_back([claim], owner="w:1", why="It is down.") == 1
    token = Token.objects.get(pk=claim.token_id)
    assert (token.lease_owner, token.attempts, token.status) == (None, 0, "generating")
    assert token.generation_error == "It is down."


def test_what_an_owner_does_not_know_of_is_freed_and_stays_counted() -> None:
    known, unheard, foreign = claimed(), claimed(), claimed("w:2")
    assert free_all_but([known.token_id], owner="w:1") == 1
    held = Token.objects.filter(lease_owner__isnull=False).values_list("pk", flat=True)
    assert set(held) == {known.token_id, foreign.token_id}
    assert Token.objects.get(pk=unheard.token_id).attempts == 1


@pytest.mark.parametrize("stale", ["owner", "claim"])
def test_a_stale_claim_changes_nothing(stale: str) -> None:
    """The same owner may have claimed the token again, though its count of attempts is the same."""
    claim, owner = claimed(), "w:1"
    job = add_job(Token.objects.get(), JobStatus.CREATED)
    if stale == "owner":
        owner = "w:2"
    else:
        give_back([claim], owner="w:1")
        (again,) = claim_jobs(owner="w:1", limit=1, statuses=[JobStatus.CREATED])
        assert again.attempts == claim.attempts
    before, moves = Token.objects.values().get(), TokenTransition.objects.count()
    moved = move_tokens(
        [Move(claim.token_id, 1, claim.lease_number, fields={"image_cid": CID})],
        source=TokenStatus.GENERATING,
        target=TokenStatus.UPLOADING,
        actor=owner,
        lease_owner=owner,
    )
    failed = fail_tokens([(claim, "x", "permanent")], source=TokenStatus.GENERATING, owner=owner)
    retry = Retry(claim, "x", "transient", 1.0)
    assert moved == failed == retry_later([retry], owner=owner) == set()
    assert give_back([claim], owner=owner) == 0
    assert still_ours([claim], owner=owner) == []
    refusal = InvalidRequestError("x", vendor="replicate")
    settle_failures([Failure(claim, job, refusal, JobStatus.REJECTED)], owner=owner)
    job.refresh_from_db()
    assert job.status == JobStatus.CREATED
    assert Token.objects.values().get() == before
    assert TokenTransition.objects.count() == moves


def add_job(token: Token, status: JobStatus, **columns: object) -> ImageGenerationJob:
    made: ImageGenerationJob = ImageGenerationJob.objects.create(
        token=token,
        prompt="p",
        input={},
        service="replicate",
        attempt_number=1,
        status=status,
        **columns,
    )
    return made


def test_what_the_vendor_said_of_a_call_outlives_its_loss() -> None:
    """The callback comes first, and then the caller says that its reply was lost or refused."""
    job = add_job(TokenFactory.create(), JobStatus.SUCCEEDED, external_id="p", output_url="u")
    before = ImageGenerationJob.objects.values().get()
    look_for(job, TransientError("x", vendor="replicate", status=522), is_down=False)
    close_jobs([job.pk], status=JobStatus.REJECTED)
    assert record_submitted([(job.pk, "another")], look_in=1) == set()
    assert ImageGenerationJob.objects.values().get() == before
    ImageGenerationJob.objects.update(status=JobStatus.REJECTED, external_id=None)
    assert record_submitted([(job.pk, "p")], look_in=1) == set()  # it is given up: see the ledger


@pytest.mark.django_db(transaction=True)
def test_no_open_job_is_claimed_twice_and_no_token_with_one_for_a_new_image() -> None:
    for token in TokenFactory.create_batch(40, status=TokenStatus.GENERATING, mint_event=None):
        add_job(token, JobStatus.SUCCEEDED, external_id=f"p{token.pk}")

    def work(number: int) -> list[Claim]:
        owner, claims = f"w:{number}", list[Claim]()
        assert claim_for_generation(owner=owner, limit=3) == []
        while found := claim_jobs(owner=owner, limit=3, statuses=[JobStatus.SUCCEEDED]):
            claims += found
        return claims

    claims = [claim.token_id for found in at_once(4, work) for claim in found]
    assert len(claims) == len(set(claims)) == 40


def test_a_job_is_claimed_when_it_is_to_be_looked_for_though_its_token_is_held() -> None:
    now = timezone.now()
    due, later = TokenFactory.create_batch(2, held_at=now, hold_reason="why")
    add_job(due, JobStatus.CREATED, look_at=now - timedelta(seconds=1))
    add_job(later, JobStatus.CREATED, look_at=now + timedelta(minutes=1))
    (claim,) = claim_jobs(owner="w", limit=9, statuses=[JobStatus.CREATED], looked_for=True)
    assert (claim.token_id, claim.job.status) == (due.pk, "created")


@pytest.mark.parametrize("status", [JobStatus.CREATED, JobStatus.SUBMITTED, JobStatus.SUCCEEDED])
def test_the_survey_tells_when_a_held_tokens_job_is_due(status: JobStatus) -> None:
    """Of a job, its own time, its token's or the later one, by what the step waits for."""
    soon, later = (timezone.now() + timedelta(seconds=s) for s in (60, 90))
    token = TokenFactory.create(held_at=soon, hold_reason="why", next_attempt_at=later)
    add_job(token, status, look_at=soon, external_id="p", output_url="u")
    jobs = OpenJobs()
    jobs.read()
    assert jobs.workable(status) == 0
    expected = 60 if status == JobStatus.SUBMITTED else 90
    assert jobs.next_job_in == pytest.approx(expected, abs=5)


def test_a_retry_waits_and_is_counted_or_leaves_no_trace() -> None:
    counted, silent = claimed(), claimed()
    retry_later(
        [
            Retry(counted, "It broke.", "transient", 500.0, generation_attempts=2),
            Retry(silent, "It is down.", "vendor_down", 0.0, counted=False),
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
    assert [c.token_id for c in claim_for_generation(owner="w", limit=9)] == [silent.token_id]


def test_the_metric_counts_a_retry_when_it_is_committed(
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    told: list[str] = []
    monkeypatch.setattr("tokens.transitions.claims.count_retry", told.append)
    retry = Retry(claimed(), "It broke.", "transient", 500.0)
    with django_capture_on_commit_callbacks(execute=True):
        with transaction.atomic():
            retry_later([retry], owner="w:1")
            transaction.set_rollback(True)
        retry_later([retry], owner="w:1")
        assert told == []
    assert told == ["transient"]


def test_the_next_attempt_is_the_soonest_in_the_future() -> None:
    stages = (TokenStatus.DETECTED, TokenStatus.UPLOADING)
    assert seconds_until_next_attempt(*stages) is None
    now = timezone.now()
    TokenFactory.create(next_attempt_at=now + timedelta(minutes=30))
    TokenFactory.create(status=TokenStatus.UPLOADING, next_attempt_at=now + timedelta(minutes=9))
    TokenFactory.create(status=TokenStatus.READY, next_attempt_at=now + timedelta(minutes=2))
    TokenFactory.create(next_attempt_at=now - timedelta(minutes=5))  # due: a claim takes it
    seconds = seconds_until_next_attempt(*stages)
    assert seconds is not None
    assert 7 * 60 < seconds <= 9 * 60


def test_a_token_that_the_gate_refuses_waits_and_no_other() -> None:
    refused, other = TokenFactory.create_batch(2, status=TokenStatus.READY)
    failed = TokenFactory.create(status=TokenStatus.FAILED)
    refusals = [
        Refusal(token.pk, "Not yet.", "unconfirmed", wait_seconds=60, counted=True)
        for token in (refused, failed)
    ]
    for _ in range(2):
        postpone_reveals(refusals, actor="w")
    for token in (refused, other, failed):
        token.refresh_from_db()
    waits = refused.next_attempt_at
    assert waits is not None
    assert 50 < (waits - timezone.now()).total_seconds() <= 60
    assert (refused.attempts, refused.generation_error) == (2, "Not yet.")
    assert (other.next_attempt_at, failed.next_attempt_at) == (None, None)
    assert TokenTransition.objects.get().token_id == refused.pk  # the same reason is said once
    forget_refusals([refused.pk], but="unconfirmed")
    assert Token.objects.get(pk=refused.pk).attempts == 2
    forget_refusals([refused.pk], but="reorged")
    assert Token.objects.get(pk=refused.pk).attempts == 0


def test_only_a_reveal_by_others_is_named_later() -> None:
    ours, named, adopted = TokenFactory.create_batch(3, status=TokenStatus.REVEALED)
    Token.objects.filter(pk__in=[named.pk, adopted.pk]).update(adopted_uri="ipfs://x")
    Token.objects.filter(pk=adopted.pk).update(reveal_tx_hash=None)
    found = {token.pk: (hash32(9), timezone.now()) for token in (ours, named, adopted)}
    name_transactions(found)
    known = dict(Token.objects.values_list("pk", "reveal_tx_hash"))
    assert known == {
        ours.pk: ours.reveal_tx_hash,
        named.pk: named.reveal_tx_hash,
        adopted.pk: hash32(9),
    }

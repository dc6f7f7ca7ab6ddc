"""A new image for a token that is not revealed: paid once, and never while anything is in doubt."""

from __future__ import annotations

import pytest
from django.test import Client

from tokens.models import Token, TokenImage, TokenTransition
from tokens.models.job import JobStatus
from tokens.repairs import regenerate_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.repairs.stock import (
    ACTOR,
    add_job,
    failed,
    put_in_batch,
    the_one,
    timeline,
    with_artefacts,
)
from tokens.tests.stage import Start, Vendors, is_ready, status

pytestmark = pytest.mark.django_db


def regenerate(token: Token, *, dry_run: bool = False) -> tuple[bool, str]:
    results = regenerate_tokens(
        token_ids=[token.pk], actor=ACTOR, reason="a hand too many", dry_run=dry_run
    )
    return the_one(results).done, the_one(results).message


@pytest.mark.parametrize("state", [TokenStatus.UPLOADING, TokenStatus.READY, TokenStatus.FAILED])
def test_the_old_artefacts_move_into_the_timeline(state: TokenStatus) -> None:
    token = with_artefacts(state, generation_attempts=2, automatic_retries=3, fallback_used=True)
    old = Token.objects.get(pk=token.pk)
    sha256 = token.image.sha256
    assert regenerate(token)[0]
    token.refresh_from_db()
    assert token.status == TokenStatus.GENERATING
    assert (token.image_cid, token.image_url, token.metadata_cid) == (None, None, None)
    assert token.metadata_text is None
    assert (token.generation_attempts, token.automatic_retries) == (0, 0)
    assert not token.fallback_used
    assert not TokenImage.objects.filter(pk=token.pk).exists()
    (row,) = timeline(token)
    assert (row.from_status, row.to_status) == (state, "generating")
    assert row.reason == "regenerated: a hand too many"
    kept = row.detail["old"]
    assert kept.get("image_cid") == old.image_cid
    assert kept.get("metadata_cid") == old.metadata_cid
    assert kept["image_sha256"] == sha256
    assert kept["prediction"] == f"prediction{token.pk}"
    assert kept["cost_usd"] == "0.003000"
    assert kept["fallback_used"] is True


def test_a_new_image_is_made_pinned_and_paid_once(worker: Start, vendors: Vendors) -> None:
    token = TokenFactory.create()
    drain = worker()
    drain.until(is_ready(token))
    before = Token.objects.get(pk=token.pk)
    assert regenerate(token)[0]
    drain.until(is_ready(token))
    token.refresh_from_db()
    assert token.image_cid != before.image_cid
    assert token.metadata_cid != before.metadata_cid
    assert vendors.store.read(str(token.image_cid)) == bytes(token.image.data or b"")
    assert vendors.paid == 2
    assert not vendors.replicate.bill.duplicates()


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (TokenStatus.DETECTED, "made already"),
        (TokenStatus.GENERATING, "made already"),
        (TokenStatus.REVEALED, "for ever"),
    ],
)
def test_what_is_revealed_or_not_made_yet_is_skipped(state: TokenStatus, why: str) -> None:
    token = with_artefacts(state)
    before = Token.objects.filter(pk=token.pk).values().get()
    done, message = regenerate(token)
    assert not done
    assert why in message
    assert Token.objects.filter(pk=token.pk).values().get() == before
    assert not timeline(token)


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "reverted-lately"])
@pytest.mark.parametrize("state", [TokenStatus.READY, TokenStatus.FAILED])
def test_a_token_in_a_reveal_transaction_is_never_regenerated(
    state: TokenStatus, is_open: bool
) -> None:
    """A reorg may bring back what was reverted: with the old image's URI."""
    token = with_artefacts(state)
    put_in_batch(token, is_open=is_open)
    done, message = regenerate(token)
    assert not done
    assert "transaction" in message
    assert status(token) == state


def test_a_token_of_a_settled_batch_may_be_regenerated() -> None:
    token = with_artefacts(TokenStatus.READY)
    put_in_batch(token, is_open=False, settled=True)
    assert regenerate(token)[0]


@pytest.mark.parametrize("state", [JobStatus.CREATED, JobStatus.SUBMITTED])
def test_nothing_is_paid_while_an_earlier_outcome_is_unknown(state: JobStatus) -> None:
    token = failed(TokenStatus.GENERATING)
    job = add_job(token, state)
    done, message = regenerate(token)
    assert not done
    assert f"call {job.pk}" in message
    assert "retry the token" in message
    assert status(token) == TokenStatus.FAILED


@pytest.mark.parametrize("state", [JobStatus.SUCCEEDED, JobStatus.ERRORED])
def test_an_outcome_that_is_known_is_closed_in_the_books(state: JobStatus) -> None:
    token = failed(TokenStatus.GENERATING)
    job = add_job(token, state)
    assert regenerate(token)[0]
    job.refresh_from_db()
    assert (job.status, job.error_class) == (JobStatus.FAILED, "regenerated")
    assert str(job.cost_usd) == "0.003000"


def test_what_a_worker_holds_is_left_to_it() -> None:
    token = with_artefacts(TokenStatus.UPLOADING)
    Token.objects.filter(pk=token.pk).update(
        lease_owner="w", lease_expires_at="2100-01-01T00:00Z", attempts=1
    )
    done, message = regenerate(token)
    assert not done
    assert "worker is at it" in message
    Token.objects.filter(pk=token.pk).update(lease_expires_at="2026-01-01T00:00Z")
    assert regenerate(token)[0]


def test_old_artefacts_and_refused_prompts_stand_in_the_timeline(admin_client: Client) -> None:
    token = with_artefacts(TokenStatus.READY)
    old = (str(token.image_cid), str(token.metadata_cid))
    TokenTransition.objects.create(
        token=token,
        from_status="generating",
        to_status="generating",
        actor="drain",
        detail={"censored": True, "original_prompt": "a nude <by> the sea"},
    )
    regenerate_tokens(token_ids=[token.pk], actor="operator alice", reason="a hand too many")
    page = admin_client.get(f"/admin/tokens/token/{token.pk}/change/").content.decode()
    assert "<b>original prompt</b> a nude &lt;by&gt; the sea" in page
    assert f"<b>old image cid</b> {old[0]}" in page
    assert f"<b>old metadata cid</b> {old[1]}" in page
    assert f"<b>old prediction</b> prediction{token.pk}" in page
    assert "<b>old cost usd</b> 0.003000" in page
    assert "regenerated: a hand too many" in page

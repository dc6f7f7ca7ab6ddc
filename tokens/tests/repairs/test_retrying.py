"""A retry leads back to where a token failed, and pays for nothing that is there already."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from authors.tests.factories import AuthorFactory
from tokens.models import ImageGenerationJob, Token, TokenImage
from tokens.models.job import JobStatus
from tokens.repairs import failed_token_ids, hold_tokens, retry_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.repairs.stock import ACTOR, add_job, failed, the_one, timeline
from tokens.tests.stage import Start, Vendors, is_failed, is_ready, status

pytestmark = pytest.mark.django_db

STAGES = [
    TokenStatus.DETECTED,
    TokenStatus.GENERATING,
    TokenStatus.UPLOADING,
    TokenStatus.READY,
]


@pytest.mark.parametrize("stage", STAGES)
def test_a_failed_token_goes_back_to_the_stage_it_failed_in(stage: TokenStatus) -> None:
    token = failed(stage, generation_attempts=3)
    before = Token.objects.get(pk=token.pk)
    result = the_one(retry_tokens(token_ids=[token.pk], actor=ACTOR, reason="vendor  is\nback"))
    assert result.done
    assert result.pays is (stage in (TokenStatus.DETECTED, TokenStatus.GENERATING))
    token.refresh_from_db()
    assert token.status == stage
    assert (token.generation_error, token.error_class, token.attempts) == (None, "", 0)
    for kept in ("image_cid", "metadata_cid", "metadata_text", "prompt"):
        assert getattr(token, kept) == getattr(before, kept)
    assert token.generation_attempts == (0 if result.pays else 3)
    (row,) = timeline(token)
    assert (row.from_status, row.to_status) == ("failed", stage)
    assert row.reason == "retried: vendor is back"
    assert row.detail["error_class"] == "permanent"
    assert row.detail["error"] == "The vendor refused it."


def test_without_a_timeline_the_artefacts_tell_the_stage() -> None:
    token = failed(TokenStatus.UPLOADING)
    token.transitions.all().delete()
    assert the_one(retry_tokens(token_ids=[token.pk], actor=ACTOR)).done
    assert status(token) == TokenStatus.UPLOADING


def test_each_token_is_decided_by_itself() -> None:
    good = failed(TokenStatus.GENERATING)
    others = [TokenFactory.create(status=s) for s in TokenStatus if s != TokenStatus.FAILED]
    missing = others[-1].pk + 1000
    wanted = [missing, *(token.pk for token in others), good.pk, good.pk]
    results = retry_tokens(token_ids=wanted, actor=ACTOR)
    assert [(result.token_id, result.done) for result in results] == [
        (good.pk, True),
        *((token.pk, False) for token in others),
        (missing, False),
    ]
    assert [result.message for result in results[1:]] == [
        *(f"It has not failed: it is {token.status}." for token in others),
        f"There is no token {missing} here.",
    ]


def test_an_upload_whose_bytes_are_gone_is_not_retried() -> None:
    token = failed(TokenStatus.UPLOADING)
    TokenImage.objects.update(data=None)
    result = the_one(retry_tokens(token_ids=[token.pk], actor=ACTOR))
    assert not result.done
    assert "regenerate" in result.message
    assert status(token) == TokenStatus.FAILED


def test_a_held_token_stays_held() -> None:
    token = TokenFactory.create(status=TokenStatus.GENERATING)
    hold_tokens(token_ids=[token.pk], actor=ACTOR, reason="looks odd")
    token.refresh_from_db()
    token.mark_failed("It broke.")
    result = the_one(retry_tokens(token_ids=[token.pk], actor=ACTOR))
    assert "release" in result.message
    token.refresh_from_db()
    assert token.held_at is not None


@pytest.mark.parametrize("prompt", ["", "   ", "x" * 1001])
def test_a_senseless_prompt_gives_way_to_the_authors(prompt: str) -> None:
    author = AuthorFactory.create(prompt_text="")
    token = failed(TokenStatus.GENERATING, author=author, prompt=prompt)
    refused = the_one(retry_tokens(token_ids=[token.pk], actor=ACTOR))
    assert not refused.done
    assert "set the author's prompt" in refused.message
    author.prompt_text = "a fox in the snow"
    author.save()
    assert the_one(retry_tokens(token_ids=[token.pk], actor=ACTOR)).done
    token.refresh_from_db()
    assert token.prompt == "a fox in the snow"
    assert timeline(token)[0].detail["old_prompt"] == prompt


# -- what is paid for already -----------------------------------------------------------


def test_the_call_that_is_under_way_goes_on(worker: Start, vendors: Vendors) -> None:
    token = TokenFactory.create()
    first = worker()
    first.until(lambda: ImageGenerationJob.objects.filter(status="submitted").exists())
    first.crash()
    token.refresh_from_db()
    token.mark_failed("by mistake")
    result = the_one(retry_tokens(token_ids=[token.pk], actor=ACTOR))
    assert (result.done, result.pays) == (True, False)
    worker().until(is_ready(token))
    assert vendors.paid == 1


def test_a_paid_image_that_could_not_be_fetched_is_fetched_by_the_retry(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    right, settings.REPLICATE_OUTPUT_HOSTS = settings.REPLICATE_OUTPUT_HOSTS, ["example.org"]
    token = TokenFactory.create()
    drain = worker()
    drain.until(is_failed(token))
    token.refresh_from_db()
    assert "REPLICATE_OUTPUT_HOSTS" in (token.generation_error or "")
    settings.REPLICATE_OUTPUT_HOSTS = right
    result = the_one(retry_tokens(token_ids=[token.pk], actor=ACTOR))
    assert (result.done, result.pays) == (True, False)
    drain.until(is_ready(token))
    assert vendors.paid == 1


@pytest.mark.parametrize(
    ("error_class", "age"), [("artefact", timedelta()), ("permanent", timedelta(hours=2))]
)
def test_what_is_no_image_or_is_deleted_by_now_is_paid_for_anew(
    error_class: str, age: timedelta
) -> None:
    token = failed(TokenStatus.GENERATING)
    job = add_job(token, JobStatus.FAILED, error_class=error_class, output_url="https://x/y.webp")
    ImageGenerationJob.objects.filter(pk=job.pk).update(created_at=timezone.now() - age)
    assert the_one(retry_tokens(token_ids=[token.pk], actor=ACTOR, dry_run=True)).pays


def test_an_upload_that_failed_goes_on_with_its_bytes(worker: Start, vendors: Vendors) -> None:
    vendors.pinata.set_faults(wrong_cid_rate=1.0)
    token = TokenFactory.create()
    drain = worker()
    drain.until(is_failed(token))
    vendors.pinata.set_faults(wrong_cid_rate=0.0)
    retry_tokens(token_ids=[token.pk], actor=ACTOR)
    drain.until(is_ready(token))
    assert vendors.paid == 1


def test_a_refused_fallback_prompt_is_replaced_by_a_new_one(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.FALLBACK_CENSORED_PROMPT = "also nsfw"
    token = TokenFactory.create(prompt="a nude")
    drain = worker()
    drain.until(is_failed(token))
    settings.FALLBACK_CENSORED_PROMPT = "a calm sea"
    retry_tokens(token_ids=[token.pk], actor=ACTOR)
    drain.until(is_ready(token))
    assert vendors.predictions[-1].input["prompt"] == "a calm sea"
    assert vendors.paid == 3


# -- which ones -------------------------------------------------------------------------


def test_failed_tokens_are_chosen_by_stage_class_number_and_count() -> None:
    early = failed(TokenStatus.GENERATING, error_class="transient")
    upload = failed(TokenStatus.UPLOADING, error_class="cid_mismatch")
    late = failed(TokenStatus.GENERATING, error_class="artefact")
    TokenFactory.create(status=TokenStatus.READY)
    assert failed_token_ids() == [early.pk, upload.pk, late.pk]
    assert failed_token_ids(stage="generating") == [early.pk, late.pk]
    assert failed_token_ids(stage="generating", limit=1) == [early.pk]
    assert failed_token_ids(error_class="cid_mismatch") == [upload.pk]
    assert failed_token_ids(token_ids=[late.pk, 10**6]) == [late.pk]
    assert failed_token_ids(stage="ready") == []

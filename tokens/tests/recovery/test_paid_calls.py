"""Paid calls that a restored database has forgotten are found by their seeds, and used."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from pytest_django import Settings

from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.clock import database_now
from glisk.errors import TransientError
from tokens.models import ImageGenerationJob, Token
from tokens.models.job import JobStatus
from tokens.pipeline import jobs
from tokens.pipeline.image_vendors import spent_today
from tokens.recovery.paid_calls import PaidCallsReport, adopt_paid_calls, skip_used_numbers
from tokens.states import TokenStatus
from tokens.tests import conftest as of_tokens
from tokens.tests.factories import TokenFactory, hash32
from tokens.tests.stage import Start, Vendors, Worker, is_ready, until_ended

_vendors, vendors, worker = of_tokens._vendors, of_tokens.vendors, of_tokens.worker
pytestmark = pytest.mark.django_db


def restore(tokens: Sequence[Token], **columns: object) -> None:
    """Bring the rows back to what they were before anything was paid for them."""
    ids = [token.pk for token in tokens]
    ImageGenerationJob.objects.filter(token__in=ids).delete()
    fields = {
        "status": TokenStatus.DETECTED,
        "generation_attempts": 0,
        "lease_owner": None,
        "lease_expires_at": None,
        "attempts": 0,
        "next_attempt_at": None,
        "error_class": "",
        "generation_error": None,
        **columns,
    }
    Token.objects.filter(pk__in=ids).update(**fields)


def adopt(*, dry_run: bool = False) -> PaidCallsReport:
    since = database_now() - timedelta(minutes=5)
    return adopt_paid_calls(ReplicateClient(), since=since, actor="me", dry_run=dry_run)


def pay(start: Start, vendors: Vendors, tokens: Sequence[Token]) -> Worker:
    """Have images ordered and made, and the worker die before it hears of them."""
    drain = start()
    wanted = vendors.paid + len(tokens)
    drain.until(lambda: vendors.paid == wanted and not drain.drain.in_flight)
    drain.crash()
    until_ended(vendors)
    return drain


def test_an_image_that_was_paid_for_is_used_and_not_paid_again(
    worker: Start, vendors: Vendors
) -> None:
    tokens = [TokenFactory.create(prompt="A fox in the snow") for _ in range(3)]
    pay(worker, vendors, tokens)
    restore(tokens)
    assert spent_today() == 0
    assert len(adopt(dry_run=True).entered) == 3
    assert spent_today() == 0
    report = adopt()
    assert report.resumed == {
        job.token_id: job.external_id for job in ImageGenerationJob.objects.all()
    }
    assert set(report.resumed) == {token.pk for token in tokens}
    assert (len(report.entered), report.strangers, report.held) == (3, 0, {})
    assert report.cost_usd == spent_today() > 0
    assert adopt().entered == []  # a second run knows them
    worker().until(is_ready(*tokens))
    assert vendors.paid == 3
    seeds = {each.id: each.input["seed"] for each in vendors.predictions}
    for job in ImageGenerationJob.objects.all():  # each token has its own picture
        assert seeds[str(job.external_id)] == jobs.seed_of(job.token_id, 0)
        assert (job.status, job.attempt_number) == (JobStatus.CAPTURED, 1)


def test_the_last_of_several_calls_is_waited_for_and_all_are_in_the_ledger(
    worker: Start, vendors: Vendors
) -> None:
    """The first one failed at the vendor; between the two one was refused."""
    token = TokenFactory.create()
    vendors.replicate.set_faults(crash_rate=1.0)
    pay(worker, vendors, [token])
    client = ReplicateClient()
    vendors.replicate.set_faults(crash_rate=0.0)
    image = jobs.new_input(token.prompt, seed=jobs.seed_of(token.pk, 2))
    client.create_prediction(input=image, webhook_url=None)
    until_ended(vendors)
    restore([token])
    report = adopt()
    rows = ImageGenerationJob.objects.order_by("pk")
    assert [row.status for row in rows] == ["failed", "rejected", "submitted"]
    assert [row.attempt_number for row in rows] == [1, 2, 2]
    assert len(report.entered) == 2
    token.refresh_from_db()
    assert token.generation_attempts == 2
    worker().until(is_ready(token))
    assert vendors.paid == 2
    assert jobs.job_counts([token.pk]) == {token.pk: 3}  # no seed is used a second time


def test_a_call_that_was_under_way_at_the_backup_is_found_too(
    worker: Start, vendors: Vendors
) -> None:
    token = TokenFactory.create()
    pay(worker, vendors, [token])
    ImageGenerationJob.objects.update(
        status=JobStatus.CREATED, external_id=None, submitted_at=None, completed_at=None
    )
    Token.objects.update(lease_owner=None, lease_expires_at=None)
    assert list(adopt().resumed) == [token.pk]
    worker().until(is_ready(token))
    assert vendors.paid == 1
    assert ImageGenerationJob.objects.count() == 1


def test_what_is_revealed_meanwhile_is_entered_only(worker: Start, vendors: Vendors) -> None:
    token = TokenFactory.create()
    pay(worker, vendors, [token])
    restore([token], status=TokenStatus.REVEALED, reveal_tx_hash=hash32(1), adopted_uri="ipfs://x")
    Token.objects.update(status_changed_at=database_now())
    report = adopt()
    assert (report.resumed, len(report.entered)) == ({}, 1)
    job = ImageGenerationJob.objects.get()
    assert (job.token_id, job.status, job.cost_usd) == (token.pk, JobStatus.CAPTURED, spent_today())


def test_another_prompt_is_a_persons_to_decide(worker: Start, vendors: Vendors) -> None:
    """The author changed it after the backup, and it was paid for with the new one."""
    token = TokenFactory.create(prompt="A new prompt")
    pay(worker, vendors, [token])
    restore([token], prompt="The old one")
    token.author.prompt_text = "The old one"
    token.author.save()
    report = adopt()
    assert "with another prompt: 'A new prompt'" in report.held[token.pk]
    token.refresh_from_db()
    assert token.held_at is not None
    worker().settle(0.3)
    assert vendors.paid == 1
    token.author.prompt_text = "A new prompt"
    token.author.save()
    assert list(adopt().resumed) == [token.pk]
    token.refresh_from_db()
    assert token.prompt == "A new prompt"


def test_what_has_lost_its_input_and_what_is_not_ours_is_counted(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    token = TokenFactory.create()
    pay(worker, vendors, [token])
    ReplicateClient().create_prediction(input={"prompt": "x", "seed": 5}, webhook_url=None)
    until_ended(vendors)
    restore([token])
    report = adopt()
    assert (len(report.entered), report.strangers, report.unreadable) == (1, 1, 0)
    restore([token])
    vendors.replicate.set_faults(data_removed=True)
    report = adopt()
    assert (report.entered, report.unreadable) == ([], 2)
    assert not ImageGenerationJob.objects.exists()


def test_nothing_is_entered_while_a_prediction_cannot_be_read(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the one that would be paid for again, so it counts for no deleted input."""
    tokens = [TokenFactory.create() for _ in range(2)]
    pay(worker, vendors, tokens)
    restore(tokens)
    vendors.replicate.set_faults(list_omits="input,output,logs")
    read, refused = ReplicateClient.get_prediction, vendors.predictions[0].id

    def refuse_one(client: ReplicateClient, external_id: str) -> Prediction:
        if external_id == refused:
            raise TransientError("too many", vendor="replicate", status=429)
        return read(client, external_id)

    with monkeypatch.context() as patch:
        patch.setattr(ReplicateClient, "get_prediction", refuse_one)
        with pytest.raises(TransientError, match="1 of 2 predictions cannot be read now"):
            adopt()
    assert not ImageGenerationJob.objects.exists()
    assert set(adopt().resumed) == {token.pk for token in tokens}


def test_no_number_of_a_job_is_given_out_twice() -> None:
    """A late callback names a job by its number."""
    first = ImageGenerationJob.objects.create(
        token=TokenFactory.create(), prompt="x", input={}, service="replicate", attempt_number=1
    )
    skip_used_numbers()
    second = ImageGenerationJob.objects.create(
        token=TokenFactory.create(), prompt="x", input={}, service="replicate", attempt_number=1
    )
    assert second.pk > first.pk + 900_000


def test_seeds_differ_and_need_our_secret(settings: Settings) -> None:
    seeds = {jobs.seed_of(token_id, number) for token_id in range(100) for number in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    before = jobs.seed_of(1, 0)
    settings.SECRET_KEY = "another" * 10
    assert jobs.seed_of(1, 0) != before

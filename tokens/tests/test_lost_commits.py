"""A commit whose answer is lost was made all the same: what comes again changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import OperationalError

from authors.tests.factories import AuthorFactory
from glisk.engine.step import Step
from tokens.models import ImageGenerationJob, IPFSUploadRecord, PromptSample, Token, TokenTransition
from tokens.pipeline.image_vendors import spent_today
from tokens.pipeline.samples import request_sample
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import CREATE, Start, Vendors, Worker, is_ready

pytestmark = pytest.mark.django_db
PIN = "/pinning/pinFileToIPFS$"


def steps_of(worker: Worker) -> list[Step[Any, Any]]:
    return [step for drain in worker.drains for step in getattr(drain, "steps", ())]


def lose_each_answer(step: Any, *, claims: bool) -> list[str]:
    """Commit each claim or settlement of a step, and lose its answer; a settlement's once."""
    lost: list[str] = []
    settle, claim = step.settle, step.claim

    def settle_and_lose(done: Sequence[Any], failed: Sequence[Any]) -> None:
        settle(done, failed)
        key = str(sorted(id(each.work) for each in (*done, *failed)))
        if key not in lost:
            lost.append(key)
            raise OperationalError("the answer to COMMIT was lost")

    def claim_and_lose(limit: int) -> Sequence[Any]:
        works: Sequence[Any] = claim(limit)
        if works and not lost:
            lost.append("claim")
            raise OperationalError("the answer to COMMIT was lost")
        return works

    step.settle, step.claim = (settle, claim_and_lose) if claims else (settle_and_lose, claim)
    return lost


def test_settlements_come_again_and_change_nothing(worker: Start, vendors: Vendors) -> None:
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    vendors.pinata.plan_fault("server_error", scope=PIN)
    TokenFactory.create_batch(3)
    TokenFactory.create(prompt="a nude")
    TokenFactory.create(prompt="a garbage-html picture")
    sample = request_sample(author=AuthorFactory.create(), prompt="A fox", actor="ada")
    drain = worker()
    lost = {step.name: lose_each_answer(step, claims=False) for step in steps_of(drain)}
    drain.until(lambda: Token.objects.filter(status="ready").count() == 4)
    drain.until(lambda: Token.objects.filter(status="failed").count() == 1)
    drain.until(PromptSample.objects.filter(pk=sample.pk, status="done").exists)
    assert all(lost[name] for name in ("order", "poll", "find", "collect", "pin", "sample"))
    assert vendors.paid == 3 + 2 + 3 + 1
    assert float(spent_today()) == vendors.replicate.bill.total_usd
    assert IPFSUploadRecord.objects.filter(status="succeeded").count() == 8
    assert IPFSUploadRecord.objects.filter(status="failed").count() == 1
    html = Token.objects.get(status="failed")
    assert (html.generation_attempts, len(html.error_log)) == (3, 2)
    assert TokenTransition.objects.filter(to_status="ready").count() == 4
    assert ImageGenerationJob.objects.filter(status="captured").count() == 4


@pytest.mark.parametrize("name", ["order", "find", "collect", "pin"])
def test_a_claim_that_nobody_heard_of_is_made_again_at_once(
    worker: Start, vendors: Vendors, name: str
) -> None:
    if name == "find":
        vendors.replicate.plan_fault("drop_after", scope=CREATE)
    token = TokenFactory.create()
    drain = worker()
    (step,) = [each for each in steps_of(drain) if each.name == name]
    lost = lose_each_answer(step, claims=True)
    drain.until(is_ready(token))
    assert lost
    assert vendors.paid == 1

"""Two people, or one who clicks twice: everything is done once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from glisk.engine.broker import Listener
from glisk.tests.waiting import at_once
from tokens.models import Token, TokenTransition
from tokens.repairs import (
    RepairResult,
    fail_by_hand,
    hold_tokens,
    regenerate_tokens,
    release_tokens,
    retry_tokens,
)
from tokens.states import TokenStatus
from tokens.tests.repairs.stock import ACTOR, failed, put_in_batch, timeline, with_artefacts
from tokens.tests.stage import status
from tokens.transitions import PIPELINE_CHANNEL, REVEAL_CHANNEL

pytestmark = pytest.mark.django_db(transaction=True)

Service = Callable[..., list[RepairResult]]


def held(state: TokenStatus) -> Token:
    token = with_artefacts(state)
    hold_tokens(token_ids=[token.pk], actor="before", reason="wait")
    return token


@pytest.mark.parametrize(
    ("service", "make"),
    [
        (retry_tokens, lambda: failed(TokenStatus.UPLOADING)),
        (regenerate_tokens, lambda: with_artefacts(TokenStatus.READY)),
        (hold_tokens, lambda: with_artefacts(TokenStatus.READY)),
        (release_tokens, lambda: held(TokenStatus.READY)),
        (fail_by_hand, lambda: with_artefacts(TokenStatus.READY)),
    ],
    ids=["retry", "regenerate", "hold", "release", "fail"],
)
def test_two_clicks_at_once_do_it_once(service: Service, make: Callable[[], Token]) -> None:
    tokens = [make() for _ in range(4)]
    ids = [token.pk for token in tokens]
    orders = [ids, ids[::-1]]

    def click(number: int) -> list[RepairResult]:
        return service(token_ids=orders[number], actor=ACTOR, reason="because")

    results = [result for part in at_once(2, click) for result in part]
    assert sorted(r.token_id for r in results if r.done) == ids
    assert sorted(r.token_id for r in results if not r.done) == ids
    assert all(len(timeline(token)) == 1 for token in tokens)


@pytest.mark.parametrize(
    ("service", "make", "channel"),
    [
        (retry_tokens, lambda: failed(TokenStatus.UPLOADING), PIPELINE_CHANNEL),
        (retry_tokens, lambda: failed(TokenStatus.READY), REVEAL_CHANNEL),
        (regenerate_tokens, lambda: with_artefacts(TokenStatus.READY), PIPELINE_CHANNEL),
        (release_tokens, lambda: held(TokenStatus.GENERATING), PIPELINE_CHANNEL),
        (release_tokens, lambda: held(TokenStatus.READY), REVEAL_CHANNEL),
    ],
    ids=["retry", "retry-reveal", "regenerate", "release", "release-reveal"],
)
def test_the_stage_that_goes_on_is_woken(
    service: Service, make: Callable[[], Token], channel: str
) -> None:
    token = make()
    listener = Listener([PIPELINE_CHANNEL, REVEAL_CHANNEL])
    try:
        service(token_ids=[token.pk], actor=ACTOR, reason="because")
        heard = {note.channel for note in listener.session.notifies(timeout=60, stop_after=1)}
        heard |= {note.channel for note in listener.session.notifies(timeout=0.05)}
    finally:
        listener.session.close()
    assert heard == {channel}


@pytest.mark.parametrize("service", [regenerate_tokens, hold_tokens, fail_by_hand])
def test_a_reveal_that_is_just_being_signed_wins(service: Service) -> None:
    """As the outbox does: the token's row is locked, then the batch is stored."""
    token = with_artefacts(TokenStatus.READY)
    is_locked, results = threading.Event(), []

    def click() -> None:
        try:
            is_locked.wait(60)
            results.extend(service(token_ids=[token.pk], actor=ACTOR, reason="stop"))
        finally:
            connection.close()

    person = threading.Thread(target=click)
    person.start()
    with transaction.atomic():
        Token.objects.select_for_update().get(pk=token.pk)
        is_locked.set()
        person.join(0.3)
        assert person.is_alive()  # it waits for the lock
        put_in_batch(token)
    person.join(60)
    assert [r.done for r in results] == [False]
    assert status(token) == TokenStatus.READY
    assert not TokenTransition.objects.filter(actor=ACTOR).exists()

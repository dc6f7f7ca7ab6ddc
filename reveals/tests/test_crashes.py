"""A killed drain: what it stored goes on, with no nonce left out and nothing signed twice."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from reveals import outbox
from reveals.models import RevealTransaction
from reveals.tests.stage import (
    Scene,
    signed,
    statuses,
    transactions,
)
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


def test_killed_before_the_broadcast_the_same_bytes_go_out(worker: Start, scene: Scene) -> None:
    tokens = scene.mint(2)
    first = worker()
    row = signed(first)
    first.crash()
    assert scene.pool() == []
    worker().until(lambda: scene.revealed_once(tokens))
    assert [r.tx_hash for r in scene.chain.reveal_transactions()] == [row.tx_hash]
    assert statuses() == ["confirmed"]
    assert scene.nonce() == 1


def test_killed_after_the_broadcast(worker: Start, scene: Scene) -> None:
    tokens = scene.mint(2)
    scene.chain.set_automine(False)
    first = worker()
    first.until(lambda: len(scene.pool()) == 1)
    first.crash()
    second = worker()
    second.settle(0.3)
    assert len(scene.pool()) == 1
    scene.chain.mine()
    second.until(lambda: scene.revealed_once(tokens))
    assert statuses() == ["confirmed"]


def test_killed_when_it_was_mined_but_not_yet_noted(worker: Start, scene: Scene) -> None:
    tokens = scene.mint(2)
    first = worker()
    first.until(lambda: scene.chain.is_revealed(tokens[0].token_id))
    if statuses() != ["confirmed"]:
        first.crash()
    worker().until(lambda: scene.revealed_once(tokens))
    assert scene.nonce() == 1


def test_killed_with_several_in_flight_leaves_no_gap(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 1
    tokens = scene.mint(6)
    scene.chain.set_automine(False)
    first = worker()
    first.until(lambda: len(transactions()) == 3)
    first.crash()
    second = worker()
    second.until(lambda: len(transactions()) == 4)
    scene.chain.set_automine(True)
    scene.chain.mine()
    second.until(lambda: scene.revealed_once(tokens))
    assert sorted(row.nonce for row in transactions()) == [0, 1, 2, 3, 4, 5]
    assert scene.nonce() == 6


def test_when_the_answer_to_a_commit_is_lost_nothing_is_signed_twice(
    worker: Start, scene: Scene
) -> None:
    tokens = scene.mint()
    drain = worker()
    drain.until(lambda: drain.drain._preparing is not None)
    prepared = drain.finished()
    while not any(result.kind == "prepare" for result in prepared):
        drain.drain.turn(prepared)
        prepared = drain.finished()
    store = outbox.store_signed
    calls = []

    def store_and_lose(**facts: Any) -> RevealTransaction | None:
        calls.append(store(**facts))
        raise ConnectionError("server closed the connection unexpectedly")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "store_signed", store_and_lose)
        with pytest.raises(ConnectionError):
            drain.drain.turn(prepared)
    drain.drain.turn(prepared)  # the loop delivers them again
    drain.until(lambda: scene.revealed_once(tokens))
    assert len(calls) == len(transactions()) == 1

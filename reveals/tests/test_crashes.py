"""A killed drain: what it stored goes on, with no nonce left out and nothing signed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from pytest_django import Settings

from glisk.engine.step import CallResult
from reveals import candidates, outbox
from reveals.pipeline import receipts, verify
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


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (candidates, "note_verified"),
        (outbox, "reserve_batch"),
        (outbox, "store_signed"),
        (outbox, "mark_broadcast"),
        (receipts, "confirm"),
    ],
)
def test_when_the_answer_to_a_commit_is_lost_nothing_is_done_twice(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    tokens = scene.mint()
    drain = worker()
    write, lost = getattr(module, name), list[Any]()

    def write_and_lose(*arguments: Any, **named: Any) -> Any:
        answer = write(*arguments, **named)
        if not lost:
            lost.append(answer)
            raise OperationalError("server closed the connection unexpectedly")
        return answer

    for user in (module, verify):
        if hasattr(user, name):
            monkeypatch.setattr(user, name, write_and_lose)
    turn: Callable[[list[CallResult]], float | None] = drain.drain.turn

    def turn_again(results: list[CallResult]) -> float | None:
        """As the loop does: it delivers the same results again."""
        try:
            return turn(results)
        except OperationalError:
            return turn(results)

    drain.drain.turn = turn_again
    drain.until(lambda: scene.revealed_once(tokens))
    assert lost and len(transactions()) == scene.nonce() == 1

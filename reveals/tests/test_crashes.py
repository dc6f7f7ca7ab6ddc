"""A commit whose answer is lost: the same is delivered again, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from glisk.engine.step import CallResult
from reveals import gate, outbox
from reveals.pipeline import receipts, verify
from reveals.tests.stage import (
    Scene,
    transactions,
)
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (gate, "note_verified"),
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

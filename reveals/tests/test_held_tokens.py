"""A token that an operator holds back enters no batch, whenever the hold comes."""

from collections.abc import Callable

import pytest

from glisk.pauses import pause_stage, resume_stage
from glisk.timing import timing
from reveals.gate import read_ready_tokens, waiting_tokens
from reveals.models import RevealTransaction
from reveals.outbox import _still_ready
from reveals.tests.stage import Scene
from tokens.models import Token
from tokens.repairs import hold_tokens, release_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Worker

pytestmark = pytest.mark.django_db


def test_a_held_token_is_no_candidate() -> None:
    token, other = TokenFactory.create_batch(2, status=TokenStatus.READY)
    hold_tokens(token_ids=[token.pk], actor="operator alice", reason="odd")
    assert [w.token_id for w in waiting_tokens(10)] == [other.pk]
    Token.objects.filter(pk=token.pk).update(next_attempt_at="2100-01-01T00:00Z")
    assert read_ready_tokens().due_in is None
    Token.objects.update(next_attempt_at=None)
    release_tokens(token_ids=[token.pk], actor="operator alice")
    assert len(waiting_tokens(10)) == 2


def test_a_hold_between_the_check_and_the_signature_stops_the_batch() -> None:
    token = TokenFactory.create(status=TokenStatus.READY)
    candidates = waiting_tokens(10)
    assert _still_ready(candidates)
    hold_tokens(token_ids=[token.pk], actor="operator alice", reason="odd")
    assert not _still_ready(candidates)


def test_a_paused_reveal_begins_nothing(
    worker: Callable[[], Worker], scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "pause_refresh", 0.02)
    pause_stage("reveal", actor="ada", reason="gas is dear")
    tokens = scene.mint(2)
    drain = worker()
    drain.settle(0.5)
    assert not RevealTransaction.objects.exists()
    resume_stage("reveal", actor="ada", reason="cheap again")
    drain.until(lambda: scene.revealed_once(tokens))

"""When a batch goes, and with how many."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django import Settings

from glisk.clients.chain import FeeHistory, RevertError, RpcError
from glisk.errors import TransientError
from glisk.timing import timing
from reveals import gate
from reveals.gate import Candidate
from reveals.pipeline import compose
from reveals.pipeline.compose import prepare_batch, seconds_to_wait

NOW = datetime(2026, 2, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ages", "filling", "expected"),
    [
        pytest.param([0.0], None, 5.0, id="waits for company"),
        pytest.param([1.5, 0.2], None, 3.5, id="the oldest sets the clock"),
        pytest.param([0.2, 1.5], None, 3.5, id="in any order"),
        pytest.param([5.0, 0.0], None, 0.0, id="waited long enough"),
        pytest.param([-3.0], None, 8.0, id="a clock ahead of ours"),
        pytest.param([600.0], 0.6, 0.4, id="others are being checked"),
        pytest.param([1.0], 0.6, 4.0, id="it waits longer anyway"),
    ],
)
def test_departure(
    settings: Settings, ages: list[float], filling: float | None, expected: float
) -> None:
    settings.BATCH_REVEAL_WAIT_SECONDS = 5
    assert timing.filling == 1.0
    company = [Candidate(1, "0x", "", "", NOW - timedelta(seconds=age)) for age in ages]
    since = None if filling is None else NOW - timedelta(seconds=filling)
    wait = seconds_to_wait(company, at=NOW, filling_since=since)
    assert wait == pytest.approx(expected)


def test_what_no_transaction_can_hold_is_halved_until_one_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node says so instead of an estimate; another refusal is not for want of room."""
    monkeypatch.setattr(gate, "read_facts", lambda chain, **_asked: None)
    monkeypatch.setattr(gate, "check_tokens", lambda candidates, facts: [])
    monkeypatch.setattr(compose, "encode_reveal", lambda ids, uris: ids)
    room, text = 2, "exceeds maximum per-transaction gas limit"

    def estimate(*, keeper: str, data: Sequence[int], percentile: int) -> tuple[FeeHistory, int]:
        if len(data) > room:
            raise RpcError(-32000, text, "eth_estimateGas")
        return FeeHistory(0, ()), 100_000

    chain: Any = SimpleNamespace(fees_and_gas=estimate)
    waiting = [Candidate(number, "0x", "", "", NOW) for number in range(9)]
    prepared = prepare_batch(chain, keeper="0x4b", candidates=waiting)
    assert [each.token_id for each in prepared.candidates] == [0, 1]
    assert prepared.refused == []
    room = 0
    with pytest.raises(RpcError, match=text):  # not even a single one fits
        prepare_batch(chain, keeper="0x4b", candidates=waiting)
    room, text = 2, "not today"
    with pytest.raises(RpcError, match=text):
        prepare_batch(chain, keeper="0x4b", candidates=waiting)


def test_a_revert_that_the_next_try_does_not_show_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "read_facts", lambda chain, **_asked: None)
    monkeypatch.setattr(gate, "check_tokens", lambda candidates, facts: [])
    monkeypatch.setattr(compose, "_culprits", lambda *_asked: [])
    monkeypatch.setattr(compose, "encode_reveal", lambda ids, uris: ids)

    def estimate(**_asked: Any) -> Any:
        raise RevertError("execution reverted", data="0x12345678")

    chain: Any = SimpleNamespace(fees_and_gas=estimate)
    with pytest.raises(TransientError, match="is asked again"):
        prepare_batch(chain, keeper="0x4b", candidates=[Candidate(1, "0x", "", "", NOW)])

"""What is offered per gas: enough to be mined, never above the ceiling."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from glisk.clients.chain import FeeHistory, RpcError
from reveals.keeper import (
    MIN_PRIORITY_FEE_WEI,
    Fees,
    GasPriceTooHighError,
    bump_fees,
    choose_fees,
    is_above_cap,
)
from reveals.pipeline.send import UNDERPRICED, Send

GWEI = 10**9
wei = st.integers(min_value=0, max_value=10_000 * GWEI)
histories = st.builds(
    FeeHistory,
    next_base_fee_per_gas_wei=wei,
    priority_fees_wei=st.lists(wei, max_size=10).map(tuple),
)


@given(history=histories, ceiling=wei)
def test_a_choice_is_mined_in_the_next_block_and_stays_under_the_ceiling(
    history: FeeHistory, ceiling: int
) -> None:
    base = history.next_base_fee_per_gas_wei
    try:
        fees = choose_fees(history, ceiling_wei=ceiling)
    except GasPriceTooHighError:
        assert base + MIN_PRIORITY_FEE_WEI > ceiling
        return
    tip = fees.max_priority_fee_per_gas_wei
    assert MIN_PRIORITY_FEE_WEI <= tip <= fees.max_fee_per_gas_wei <= ceiling
    assert fees.max_fee_per_gas_wei >= base + tip


@given(
    fee=st.integers(min_value=1_000, max_value=1_000 * GWEI),
    tip=st.integers(min_value=1_000, max_value=1_000 * GWEI),
    history=histories,
    ceiling=wei,
)
def test_a_replacement_raises_both_fees_by_an_eighth_or_is_not_made(
    fee: int, tip: int, history: FeeHistory, ceiling: int
) -> None:
    paid = Fees(max(fee, tip), tip)
    bumped = bump_fees(paid, history, ceiling_wei=ceiling)
    if bumped is None:
        assert 9 * paid.max_fee_per_gas_wei > 8 * ceiling
        return
    assert 8 * bumped.max_fee_per_gas_wei >= 9 * paid.max_fee_per_gas_wei
    assert 8 * bumped.max_priority_fee_per_gas_wei >= 9 * paid.max_priority_fee_per_gas_wei
    assert bumped.max_priority_fee_per_gas_wei <= bumped.max_fee_per_gas_wei <= ceiling


@given(ceiling=st.integers(min_value=10**6, max_value=10**13))
def test_replacements_come_to_an_end(ceiling: int) -> None:
    fees: Fees | None = Fees(2_000, 1_000)
    history = FeeHistory(0, ())
    for _ in range(250):
        assert fees is not None
        fees = bump_fees(fees, history, ceiling_wei=ceiling)
        if fees is None:
            return
    pytest.fail("it went on and on")


@pytest.mark.parametrize(
    ("tips", "expected"),
    [
        ((50_000_000,) * 10, 50_000_000),  # it rose since the signature
        ((0, 50_000_000, 0, 40_000_000), 45_000_000),  # some blocks are empty
        ((500,) * 10, 1_125),  # it fell: the bump decides
    ],
)
def test_a_replacement_offers_the_markets_tip_if_that_is_more(
    tips: tuple[int, ...], expected: int
) -> None:
    signed = choose_fees(FeeHistory(5_000_000, ()), ceiling_wei=GWEI)
    assert signed == Fees(10_001_000, 1_000)  # it survives a doubling of the base fee
    bumped = bump_fees(signed, FeeHistory(5_000_000, tips), ceiling_wei=GWEI)
    assert bumped is not None
    assert bumped.max_priority_fee_per_gas_wei == expected
    assert bumped.max_fee_per_gas_wei >= 10_000_000 + expected


def test_a_price_that_just_fits_under_the_ceiling_is_paid() -> None:
    ceiling = 5_000_000
    just = FeeHistory(ceiling - MIN_PRIORITY_FEE_WEI, (400_000,) * 10)
    assert choose_fees(just, ceiling_wei=ceiling) == Fees(ceiling, MIN_PRIORITY_FEE_WEI)
    with pytest.raises(GasPriceTooHighError):
        choose_fees(FeeHistory(just.next_base_fee_per_gas_wei + 1, ()), ceiling_wei=ceiling)


def test_a_call_above_the_cap_is_known_by_the_nodes_words() -> None:
    for text in (
        "exceeds maximum per-transaction gas limit",  # Base
        "gas required exceeds allowance (16777216)",  # geth, reth
        "intrinsic gas too high",  # anvil
    ):
        assert is_above_cap(RpcError(-32000, text, "eth_estimateGas"))


@pytest.mark.parametrize(
    ("wanted_by", "was_taken", "tip"),
    [
        (UNDERPRICED, False, 2 * GWEI),
        (UNDERPRICED, True, GWEI * 9 // 8),  # another node has it: that one asks for an eighth
        ("", False, GWEI * 9 // 8),
        ("operator ada", False, GWEI * 9 // 8),
        ("zoe", False, GWEI * 9 // 8),
    ],
)
def test_the_tip_is_doubled_only_for_what_no_pool_takes(
    settings: Settings, wanted_by: str, was_taken: bool, tip: int
) -> None:
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 100
    old = SimpleNamespace(max_fee_per_gas_wei=10 * GWEI, max_priority_fee_per_gas_wei=GWEI)
    batch = SimpleNamespace(keeper="0x1", replace_by=wanted_by, was_taken=was_taken)
    step: Any = SimpleNamespace(keeper=SimpleNamespace(address="0x1"))
    work: Any = SimpleNamespace(batch=batch, row=old)
    fees = Send._fees(step, work, FeeHistory(0, ()), leaves_out=False)
    assert fees == Fees(10 * GWEI * 9 // 8, tip)

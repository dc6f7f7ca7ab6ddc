"""Watch what the keeper can do: its chain, role and balance, the price of gas, costs of late.

A scheduled look, and now and then a batch that is prepared, leave what they saw in `system_state`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection

from glisk.clients.chain import ChainClient, FeeHistory, RevealFacts
from glisk.clock import read_moment
from glisk.errors import ProviderError
from glisk.models import SystemState
from reveals.fees import PERCENTILES, GasPriceTooHighError, choose_fees, configured_ceiling_wei
from reveals.gate import ChainSetupError, check_setup
from reveals.keeper import BLOCKED, EMPTY, KEY, LOW, OK, Keeper, KeeperState, keeper_state

logger = structlog.get_logger(__name__)

# Until something was revealed: gas and bytes of one token in a batch of 50 (measured on the
# contract).
USUAL_GAS_PER_TOKEN = 92_000
USUAL_BYTES_PER_TOKEN = 200
NOTE_AGAIN_AFTER = timedelta(seconds=10)
_MEASURED_OVER = 20  # transactions


def look_at_keeper(chain: ChainClient, *, address: str) -> KeeperState:
    """Ask the node for the keeper's facts and keep them; a node that fails is a fact as well."""
    try:
        facts = chain.reveal_facts(keeper=address, token_ids=[], mint_blocks=[])
        history = chain.fee_history(percentile=PERCENTILES[settings.KEEPER_GAS_STRATEGY])
    except ProviderError as error:
        state = replace(keeper_state(), address=address, unreachable=str(error))
        _save(state)
        return state
    return note_facts(facts, history, address=address)


def note_facts(
    facts: RevealFacts, history: FeeHistory, *, address: str, unless_younger: bool = False
) -> KeeperState:
    """Keep what the chain said of the keeper; log it when the judgement changes.

    `unless_younger`: not if that was done a moment ago.
    """
    was = keeper_state()
    seen_at = read_moment(was.checked_at)
    if unless_younger and seen_at and datetime.now(UTC) - seen_at < NOTE_AGAIN_AFTER:
        return was
    now = datetime.now(UTC).isoformat(timespec="seconds")
    base = history.next_base_fee_per_gas_wei
    reason, high_since = "", None
    try:
        fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
        price = base + fees.max_priority_fee_per_gas_wei
    except GasPriceTooHighError as error:
        price, high_since = error.needed_wei, was.gas_price_high_since or now
        reason = f"{error} It has been so for {_lasted(high_since)}."
    try:
        check_setup(facts, keeper=address)
    except ChainSetupError as error:
        reason = str(error)
    costs = reveal_costs()
    measured = costs.wei_per_token or None
    cost = measured or USUAL_GAS_PER_TOKEN * price
    if not costs.l1_is_measured:  # no reveal yet, or a node whose receipts do not tell it
        cost += USUAL_BYTES_PER_TOKEN * history.l1_fee_per_byte_wei
    left = facts.balance_wei // cost if cost else 0
    state = KeeperState(
        status=BLOCKED if reason else _level(left),
        reason=reason or _shortage(address, facts.balance_wei, left),
        address=address,
        chain_id=facts.setup.chain_id,
        balance_wei=facts.balance_wei,
        cost_per_token_wei=cost,
        cost_is_measured=measured is not None,
        reveals_left=left,
        gas_price_wei=price,
        gas_price_high_since=high_since,
        checked_at=now,
    )
    _save(state)
    if (state.status, bool(high_since)) != (was.status, bool(was.gas_price_high_since)):
        level = {OK: "info", LOW: "warning"}.get(state.status, "error")
        getattr(logger, level)(
            "keeper_" + state.status, reason=state.reason, reveals_left=left, keeper=address
        )
    elif high_since:
        logger.error("gas_price_too_high", reason=reason)
    return state


def note_problem(problem: str, *, address: str) -> None:
    """Keep what forbids every reveal until facts are seen again that have nothing against them."""
    state = keeper_state()
    if (state.status, state.reason, state.address) != (BLOCKED, problem, address):
        _save(replace(state, status=BLOCKED, reason=problem, address=address))
        logger.error("keeper_blocked", reason=problem, keeper=address)


def look() -> int:
    """Look at the keeper of the settings, if this machine has one; the scheduled task's body."""
    if not settings.ENABLE_REVEAL_WORKER:
        return 0
    look_at_keeper(ChainClient.from_settings(), address=Keeper.from_settings().address)
    return 1


def _level(reveals_left: int) -> str:
    if reveals_left < 1:
        return EMPTY
    return LOW if reveals_left < settings.KEEPER_LOW_REVEALS else OK


def _shortage(address: str, balance_wei: int, reveals_left: int) -> str:
    level = _level(reveals_left)
    if level == OK:
        return ""
    effect = "Reveals pause" if level == EMPTY else "Reveals will soon pause"
    return (
        f"The keeper {address} has {balance_wei / 1e18:.6f} ETH, enough for about {reveals_left} "
        f"reveals. {effect} until it is topped up; they go on by themselves."
    )


def _lasted(since: str) -> str:
    moment = read_moment(since)
    if moment is None:
        return "an unknown time"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _save(state: KeeperState) -> None:
    SystemState.put(KEY, asdict(state))


@dataclass(frozen=True)
class RevealCosts:
    """What the last reveals took per token; None before the first one.

    `l1_is_measured`: their receipts told the L1 data fee.
    """

    transactions: int
    tokens: int
    gas_per_token: int | None
    wei_per_token: int | None
    l1_is_measured: bool


def reveal_costs() -> RevealCosts:
    """Return the costs of the newest confirmed reveals, L1 data fee included; one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), COALESCE(sum(tokens), 0), sum(gas_used) / NULLIF(sum(tokens), 0),
                   sum(gas_used * effective_gas_price_wei + COALESCE(l1_fee_wei, 0))
                   / NULLIF(sum(tokens), 0),
                   count(l1_fee_wei)
            FROM (
                SELECT gas_used, effective_gas_price_wei, l1_fee_wei,
                       cardinality(token_ids) AS tokens
                FROM reveal_transactions
                WHERE status = 'confirmed' AND gas_used IS NOT NULL
                ORDER BY signed_at DESC LIMIT %s
            ) AS newest
            """,
            [_MEASURED_OVER],
        )
        number, tokens, gas, wei, l1_fees = cursor.fetchone()
    return RevealCosts(
        transactions=number,
        tokens=int(tokens),
        gas_per_token=None if gas is None else int(gas),
        wei_per_token=None if wei is None else int(wei),
        l1_is_measured=l1_fees > 0,
    )

"""Compose a batch against the chain as it is now: what runs in a pool thread, no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings

from glisk.backoff import backoff_seconds
from glisk.clients.chain import (
    VENDOR,
    ChainClient,
    FeeHistory,
    RevealFacts,
    RevertError,
    RpcError,
    already_revealed_id,
    encode_reveal,
    revert_reason,
)
from glisk.errors import TransientError
from reveals.candidates import WOULD_REVERT
from reveals.fees import (
    MAX_TRANSACTION_GAS,
    PERCENTILES,
    GasPriceTooHighError,
    choose_fees,
    configured_ceiling_wei,
    gas_limit,
    is_above_cap,
)
from reveals.gate import Candidate, Objection, check_setup, objections
from reveals.poison import Group, find_poison

# A token whose reveal would revert, and nobody can say why, is set aside for good after so many
# looks; nothing was sent for it.
MAX_WOULD_REVERT = 10
WOULD_REVERT_WAIT_SECONDS = 5.0
# What a signed transaction holds beside its call data: nonce, fees, addresses, signature.
_ENVELOPE_BYTES = 128


@dataclass(frozen=True)
class Unmined:
    """A transaction in flight: what its gas may cost at most, and its bytes."""

    most_wei: int
    size: int


@dataclass(frozen=True)
class Prepared:
    """A batch that the chain has nothing against; without candidates there is nothing to send.

    `waits_for_funds`: what is in flight already may use up what it would cost.
    """

    facts: RevealFacts
    candidates: list[Candidate]
    refused: list[Objection]
    data: str = ""
    gas_limit: int = 0
    history: FeeHistory = field(default_factory=lambda: FeeHistory(0, ()))
    waits_for_funds: bool = False

    @property
    def l1_fee_wei(self) -> int:
        """What its data costs on top of its gas, on Base."""
        return _l1_fee_wei(self.data, self.history)


def prepare_batch(
    chain: ChainClient,
    *,
    keeper: str,
    candidates: Sequence[Candidate],
    in_flight: Mapping[int, Unmined] | None = None,
) -> Prepared:
    """Ask the chain about every candidate, simulate the reveal, and estimate its gas.

    Tokens that were revealed meanwhile, or that make the batch revert for any other reason, are
    found, taken out and named; the rest goes on. A batch above the chain's gas cap is halved.

    `in_flight`: the keeper's transactions by their nonces. The batch waits for them if their cost
    and its own exceed the balance, and shrinks to what the keeper can pay for if there are none;
    None: nobody asks for the funds.

    Raises `ChainSetupError`, `RevertError` for a refusal that no token explains, and the errors of
    the RPC client.
    """
    blocks = sorted({c.mint_block for c in candidates if c.mint_block is not None})
    facts = chain.reveal_facts(
        keeper=keeper,
        token_ids=[c.token_id for c in candidates],
        mint_blocks=blocks,
        confirmations=settings.MINT_CONFIRMATIONS,
    )
    check_setup(facts, keeper=keeper)
    refused = objections(candidates, facts)
    passing = _without(candidates, refused)
    reverted_once = False
    while passing:
        data = encode_reveal([c.token_id for c in passing], [c.metadata_uri for c in passing])
        try:
            history, estimate = chain.fees_and_gas(
                keeper=keeper, data=data, percentile=PERCENTILES[settings.KEEPER_GAS_STRATEGY]
            )
        except RevertError as error:
            culprits = _culprits(chain, keeper, passing, error, named_is_enough=not reverted_once)
            reverted_once = True
            refused += culprits
            # If only the combination reverts, each half has its chance.
            passing = _without(passing, culprits) if culprits else _first_half(passing, error)
            continue
        except RpcError as error:
            if len(passing) == 1 or not is_above_cap(error):
                raise
            passing = passing[: len(passing) // 2]
            continue
        if estimate * settings.REVEAL_GAS_BUFFER > MAX_TRANSACTION_GAS and len(passing) > 1:
            passing = passing[: len(passing) // 2]
            continue
        limit = gas_limit(estimate, buffer=settings.REVEAL_GAS_BUFFER)
        if in_flight is not None:
            cost_wei = limit * _price_wei(history) + _l1_fee_wei(data, history)
            unmined_wei = [
                unmined.most_wei + unmined.size * history.l1_fee_per_byte_wei
                for nonce, unmined in in_flight.items()
                if nonce >= facts.transaction_count
            ]
            payable = _payable(len(passing), cost_wei, facts.balance_wei, unmined_wei)
            if payable == 0:
                return Prepared(facts, [], refused, waits_for_funds=True)
            if payable < len(passing):
                passing = passing[:payable]
                continue
        return Prepared(facts, passing, refused, data, limit, history)
    return Prepared(facts, [], refused)


def _payable(count: int, cost_wei: int, balance_wei: int, unmined_wei: Sequence[int]) -> int:
    """Return how many of so many tokens may go by the keeper's balance; 0: none before others.

    One may always go if nothing is in flight: whoever signs says what is missing.
    """
    if cost_wei + sum(unmined_wei) <= balance_wei:
        return count
    if unmined_wei:  # later nonces are mined after them in any case
        return 0
    return max(1, min(count - 1, count * balance_wei // cost_wei))


def _l1_fee_wei(data: str, history: FeeHistory) -> int:
    return (len(data) // 2 + _ENVELOPE_BYTES) * history.l1_fee_per_byte_wei


def _price_wei(history: FeeHistory) -> int:
    """Return the most that a unit of gas may cost; 0 if nothing may be sent at this price."""
    try:
        return choose_fees(history, ceiling_wei=configured_ceiling_wei()).max_fee_per_gas_wei
    except GasPriceTooHighError:
        return 0


def _without(candidates: Sequence[Candidate], refused: Sequence[Objection]) -> list[Candidate]:
    turned_away = {objection.token_id for objection in refused}
    return [c for c in candidates if c.token_id not in turned_away]


def _first_half(candidates: list[Candidate], error: RevertError) -> list[Candidate]:
    if len(candidates) == 1:
        raise TransientError(f"{error}. The next try would not: it is asked again.", vendor=VENDOR)
    return candidates[: len(candidates) // 2]


def _culprits(
    chain: ChainClient,
    keeper: str,
    candidates: list[Candidate],
    error: RevertError,
    *,
    named_is_enough: bool,
) -> list[Objection]:
    """Return the tokens that make the batch revert: the one that the contract names, or search.

    The first name is trusted, since mostly it is the only one.
    """
    by_id = {c.token_id: c for c in candidates}
    named = already_revealed_id(error)
    if named in by_id and named_is_enough:
        return [_objection(by_id[named], error)]

    def simulate(groups: Sequence[Group]) -> list[RevertError | None]:
        reveals = [([c.token_id for c in g], [c.metadata_uri for c in g]) for g in groups]
        return chain.simulate_reveals(keeper=keeper, reveals=reveals)

    found = find_poison(candidates, simulate)
    return [_objection(by_id[token_id], why) for token_id, why in found.items()]


def _objection(candidate: Candidate, error: RevertError) -> Objection:
    if already_revealed_id(error) == candidate.token_id:
        return Objection(
            candidate.token_id,
            "It was revealed on chain meanwhile, by a transaction that is not ours.",
            "already_revealed",
            final=True,
        )
    hopeless = candidate.refusals >= MAX_WOULD_REVERT
    after = (
        "It was tried often enough: find out why, then retry it."
        if hopeless
        else "Nothing was sent; it is tried again later, and the others go on."
    )
    return Objection(
        candidate.token_id,
        f"Its reveal would revert: {revert_reason(error)}. {after}",
        WOULD_REVERT,
        final=hopeless,
        wait_seconds=backoff_seconds(
            candidate.refusals + 1, base=WOULD_REVERT_WAIT_SECONDS, cap=300.0
        ),
        counted=True,
    )

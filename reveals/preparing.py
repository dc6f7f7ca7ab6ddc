"""Compose a batch against the chain as it is now: what runs in a pool thread, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings

from glisk.clients.chain import (
    ChainClient,
    FeeHistory,
    RevealFacts,
    already_revealed_id,
    encode_reveal,
)
from glisk.clients.rpc import RevertError
from reveals.fees import MAX_TRANSACTION_GAS, PERCENTILES, gas_limit
from reveals.gate import Candidate, Objection, check_setup, objections


@dataclass(frozen=True)
class Prepared:
    """A batch that the chain has nothing against; without candidates there is nothing to send."""

    facts: RevealFacts
    candidates: list[Candidate]
    refused: list[Objection]
    data: str = ""
    gas_limit: int = 0
    history: FeeHistory = field(default_factory=lambda: FeeHistory(0, ()))


def prepare_batch(chain: ChainClient, *, keeper: str, candidates: Sequence[Candidate]) -> Prepared:
    """Ask the chain about every candidate, simulate the reveal, and estimate its gas.

    A token that somebody revealed in the meantime is taken out and named; the rest goes on. A
    batch above the chain's gas cap is halved. Raises `ChainSetupError`, `RevertError` for a
    refusal that no single token explains, and the errors of the RPC client.
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
    turned_away = {objection.token_id for objection in refused}
    passing = [c for c in candidates if c.token_id not in turned_away]
    while passing:
        data = encode_reveal([c.token_id for c in passing], [c.metadata_uri for c in passing])
        try:
            history, estimate = chain.fees_and_gas(
                keeper=keeper, data=data, percentile=PERCENTILES[settings.KEEPER_GAS_STRATEGY]
            )
        except RevertError as error:
            revealed = already_revealed_id(error)
            if revealed not in {c.token_id for c in passing}:
                raise
            refused.append(_revealed_meanwhile(revealed))
            passing = [c for c in passing if c.token_id != revealed]
            continue
        if estimate > MAX_TRANSACTION_GAS and len(passing) > 1:
            passing = passing[: len(passing) // 2]
            continue
        limit = gas_limit(estimate, buffer=settings.REVEAL_GAS_BUFFER)
        return Prepared(facts, passing, refused, data, limit, history)
    return Prepared(facts, [], refused)


def _revealed_meanwhile(token_id: int | None) -> Objection:
    return Objection(
        int(token_id or 0),
        "It was revealed on chain meanwhile, by a transaction that is not ours.",
        "already_revealed",
        final=True,
    )

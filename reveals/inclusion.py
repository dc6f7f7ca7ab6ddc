"""What the chain has of transactions that are in flight: receipts, nonces, reasons of reverts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from glisk.clients.chain import (
    Block,
    ChainClient,
    Receipt,
    already_revealed_id,
    encode_reveal,
    revert_reason,
)
from glisk.errors import ProviderError
from reveals.gate import check_chain
from reveals.models import RevealTransaction


@dataclass(frozen=True)
class Revert:
    """Why a mined transaction had no effect; `token_id` if the contract named one."""

    reason: str
    token_id: int | None = None


@dataclass(frozen=True)
class Included:
    head: Block
    receipts: Mapping[str, Receipt | None]
    transaction_counts: Mapping[str, int]  # mined, by keeper
    reverts: Mapping[str, Revert] = field(default_factory=dict)


def look_for_receipts(
    chain: ChainClient, rows: Sequence[RevealTransaction], *, confirmations: int = 0
) -> Included:
    """Read the receipts of every hash, in one round trip for each keeper; no database.

    Reverts that have their confirmations are explained; 0 asks for no explanation. Raises
    `ChainSetupError` on a chain that is not ours: what it lacks says nothing.
    """
    counts: dict[str, int] = {}
    receipts: dict[str, Receipt | None] = {}
    heads: list[Block] = []
    for keeper in sorted({row.keeper for row in rows}):
        hashes = [row.tx_hash for row in rows if row.keeper == keeper]
        mined = chain.mined_transactions(keeper=keeper, tx_hashes=hashes)
        check_chain(mined.chain_id)
        counts[keeper] = mined.transaction_count
        heads.append(mined.head)
        receipts |= mined.receipts
    lowest = min(heads, key=lambda head: head.number)
    reverts: dict[str, Revert] = {}
    for row in rows:
        receipt = receipts[row.tx_hash]
        if not confirmations or receipt is None or receipt.succeeded:
            continue
        if lowest.number - receipt.block_number + 1 >= confirmations:
            reverts[row.tx_hash] = _explain(chain, row, receipt)
    return Included(lowest, receipts, counts, reverts)


def _explain(chain: ChainClient, row: RevealTransaction, receipt: Receipt) -> Revert:
    """Ask why; the answer is for people and for the order of the next tries, so it may lack."""
    if receipt.gas_used >= row.gas_limit:
        return Revert(f"out of gas: all of {row.gas_limit} was used")
    try:
        error = chain.explain_revert(
            keeper=row.keeper,
            data=encode_reveal(row.token_ids, row.metadata_uris),
            gas_limit=row.gas_limit,
            block_number=receipt.block_number,
        )
    except ProviderError as fault:
        return Revert(f"the reason could not be read: {fault}")
    if error is None:
        return Revert("no reason: repeated at the end of its block, it works")
    return Revert(revert_reason(error), already_revealed_id(error))

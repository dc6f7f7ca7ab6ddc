"""Look at an open batch again, before its bytes go out once more: may they still be mined?

Between signing and sending, a process may have been dead for a day, or a reorg may have taken the
mints. The contract would reveal an id all the same, for whoever mints it next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glisk.clients.chain import ChainClient, FeeHistory
from reveals.gate import Candidate, Objection, check_setup, objections
from reveals.models import RevealTransaction

# What passes by itself in most cases: a node that lags, or a mint that a reorg moved.
_LATE = frozenset({"not_minted", "author_unknown", "reorged", "unconfirmed"})
# Of these, the ones that make a reveal wrong if they stay. The block of a mint does not.
_WRONG_IF_LASTING = frozenset({"not_minted", "author_unknown"})


@dataclass(frozen=True)
class Review:
    """What the chain says of an open batch now."""

    spent: bool  # its nonce is: the receipts tell by what
    history: FeeHistory
    objections: tuple[Objection, ...] = ()

    @property
    def late(self) -> bool:
        """Whether waiting a while may mend an objection."""
        return any(objection.error_class in _LATE for objection in self.objections)

    def passing(self, token_ids: Sequence[int]) -> list[int]:
        """Return the tokens that may be revealed after all waiting."""
        refused = {
            objection.token_id
            for objection in self.objections
            if objection.error_class not in _LATE - _WRONG_IF_LASTING
        }
        return [token_id for token_id in token_ids if token_id not in refused]


def review(
    chain: ChainClient,
    rows: Sequence[RevealTransaction],
    candidates: Sequence[Candidate],
    *,
    confirmations: int,
    percentile: int,
) -> Review:
    """Ask the chain about the tokens of an open batch; no database.

    `rows` are all transactions of its nonce, `candidates` those tokens of the newest one that are
    still what was signed. Raises `ChainSetupError` if nothing may be sent at all, and the errors of
    the chain's client.
    """
    keeper, nonce = rows[-1].keeper, rows[-1].nonce
    facts = chain.reveal_facts(
        keeper=keeper,
        token_ids=[c.token_id for c in candidates],
        mint_blocks=sorted({c.mint_block for c in candidates if c.mint_block is not None}),
        confirmations=confirmations,
    )
    check_setup(facts, keeper=keeper)
    # Asked after the facts: what we revealed ourselves by then has a receipt now.
    mined = chain.mined_transactions(keeper=keeper, tx_hashes=[row.tx_hash for row in rows])
    history = chain.fee_history(percentile=percentile)
    if mined.transaction_count > nonce or any(mined.receipts.values()):
        return Review(True, history)
    known = {candidate.token_id for candidate in candidates}
    changed = [_changed(i) for i in rows[-1].token_ids if i not in known]
    return Review(False, history, (*objections(candidates, facts), *changed))


def _changed(token_id: int) -> Objection:
    return Objection(token_id, "It is not what was signed any more.", "changed", final=True)

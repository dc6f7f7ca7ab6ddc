"""Compare the transactions that are open or recent with the chain, by hand and beside the drain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings

from glisk.clients.chain import ChainClient
from glisk.database_clock import database_now
from reveals import outbox, settlement
from reveals.depth import Fate, judge, look
from reveals.inclusion import look_for_receipts
from reveals.keeper import keeper_address
from reveals.models import BatchStatus, RevealTransaction
from reveals.recalling import MINED

RECENT = timedelta(days=1)


@dataclass
class TransactionsCompared:
    """Transaction hashes, by what the chain says of them."""

    checked: int = 0  # batches
    pending: list[str] = field(default_factory=list)  # not mined, or not deep enough
    entered: list[str] = field(default_factory=list)  # mined, and noted now
    moved: list[str] = field(default_factory=list)  # in another block than noted
    doubtful: list[str] = field(default_factory=list)  # noted as mined, and not so on chain


def compare_transactions(
    chain: ChainClient, *, actor: str, recent: timedelta = RECENT
) -> TransactionsCompared:
    """Enter what was mined, and have the worker watch again what is not on chain as noted.

    Nothing is sent or opened again here: one look of one node is no proof, and the worker looks
    several times (reveals.depth). Raises the errors of the chain's client.
    """
    report = TransactionsCompared()
    _compare_closed(chain, report, recent)
    _compare_open(chain, report, actor)
    return report


def _compare_open(chain: ChainClient, report: TransactionsCompared, actor: str) -> None:
    batches = outbox.open_transactions()
    if not batches:
        return
    rows = [row for of_batch in batches.values() for row in of_batch]
    found = look_for_receipts(chain, rows, confirmations=settings.REVEAL_CONFIRMATIONS)
    for of_batch in batches.values():
        report.checked += 1
        closed = settlement.close_by_receipt(of_batch, found, actor=actor)
        (report.entered if closed else report.pending).append(of_batch[-1].tx_hash)


def _compare_closed(chain: ChainClient, report: TransactionsCompared, recent: timedelta) -> None:
    batches = outbox.closed_transactions(since=database_now() - recent)
    if not batches:
        return
    sight = look(chain, [row for of_batch in batches.values() for row in of_batch])
    keeper = keeper_address()
    for of_batch in batches.values():
        report.checked += 1
        row = _named(of_batch)
        fate = judge(of_batch, sight, keeper=keeper)
        receipt = sight.receipts[row.tx_hash]
        if fate is Fate.MOVED and receipt is not None:
            settlement.note_move(row, receipt)
            report.moved.append(row.tx_hash)
        elif fate is Fate.DOUBTFUL:
            outbox.unsettle(keeper=row.keeper, nonce=row.nonce)
            report.doubtful.append(row.tx_hash)


def _named(rows: Sequence[RevealTransaction]) -> RevealTransaction:
    """Return the transaction that we call mined, or the newest one of a nonce that others spent."""
    mined = [row for row in rows if row.status in MINED]
    return mined[0] if mined and rows[0].batch.status != BatchStatus.SUPERSEDED else rows[-1]

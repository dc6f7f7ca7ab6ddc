"""The transactions in flight: broadcast, watch, replace, settle; in nonce order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.utils import timezone

from glisk.backoff import backoff_seconds
from glisk.clients.chain import ChainClient, FeeHistory, Head, Receipt, encode_reveal
from glisk.engine.drain import CallResult
from glisk.errors import as_provider_error
from reveals import outbox, settlement
from reveals.broadcasting import Verdict, broadcast
from reveals.fees import PERCENTILES, Fees, bump_fees, configured_ceiling_wei
from reveals.models import RevealTransaction

if TYPE_CHECKING:
    from reveals.drain import RevealDrain

logger = structlog.get_logger(__name__)

RECEIPT_POLL_SECONDS = 0.4
# A transaction that the node has taken is sent again this often, in case its pool dropped it.
REBROADCAST_SECONDS = 15.0
NO_FUNDS_WAIT_SECONDS = 5.0
# So long must the chain show the nonce as spent, and none of our receipts, before we believe
# that somebody else used the keeper: a lagging node shows the same for a moment.
SUPERSEDED_AFTER_SECONDS = 20.0


@dataclass
class Flight:
    """One open batch: every transaction signed for its nonce, the newest last."""

    rows: list[RevealTransaction]
    send_at: float = 0.0  # monotonic
    failures: int = 0
    busy: bool = False
    calls: int = 0  # a result may be delivered twice: only the last call's counts
    spent_since: float | None = None

    @property
    def newest(self) -> RevealTransaction:
        return self.rows[-1]


class Flights:
    def __init__(self, drain: RevealDrain) -> None:
        self.drain = drain
        self.by_batch: dict[int, Flight] = {}
        self._watched_at = 0.0
        self._watching = False
        self._watch_failures = 0
        self.reload()

    def reload(self) -> None:
        """Take up the open batches of the database that are not known yet."""
        for batch_id, rows in outbox.open_transactions().items():
            self.by_batch.setdefault(batch_id, Flight(rows))

    def __len__(self) -> int:
        return len(self.by_batch)

    def add(self, row: RevealTransaction) -> None:
        self.by_batch[row.batch_id] = Flight([row])
        self.send_due()

    # -- sending ------------------------------------------------------------------------

    def send_due(self) -> None:
        """Broadcast what has not been taken yet, replace what takes too long."""
        now = time.monotonic()
        for flight in self.by_batch.values():
            if flight.busy or now < flight.send_at:
                continue
            if self._overdue(flight.newest):
                self._ask_for_fees(flight)
            else:
                self._broadcast(flight)

    def _broadcast(self, flight: Flight) -> None:
        raw = bytes(flight.newest.raw_transaction)
        self._submit(flight, "broadcast", lambda: broadcast(self.chain, raw))

    def _submit(self, flight: Flight, kind: str, call: Callable[[], Any]) -> None:
        flight.busy, flight.calls = True, flight.calls + 1
        self.drain.submit(kind, (flight.newest.batch_id, flight.calls), call)

    def _overdue(self, row: RevealTransaction) -> bool:
        if row.broadcast_at is None or row.keeper != self.drain.keeper.address:
            return False
        age: float = (timezone.now() - row.broadcast_at).total_seconds()
        return age > settings.TRANSACTION_TIMEOUT_SECONDS

    def _ask_for_fees(self, flight: Flight) -> None:
        percentile = PERCENTILES[settings.KEEPER_GAS_STRATEGY]
        self._submit(flight, "replace", lambda: self.chain.fee_history(percentile=percentile))

    def take(self, results: list[CallResult]) -> None:
        for result in results:
            if result.kind == "receipts":
                self._watched(result)
                continue
            if result.kind not in ("broadcast", "replace"):
                continue
            batch_id, call = result.key
            flight = self.by_batch.get(batch_id)
            if flight is None or not flight.busy or flight.calls != call:
                continue
            if result.kind == "broadcast":
                self._sent(flight, result)
            else:
                self._replace(flight, result)

    def _sent(self, flight: Flight, result: CallResult) -> None:
        if result.error is not None:
            self._send_failed(flight, result.error)
            return
        flight.failures = 0
        wait = REBROADCAST_SECONDS
        if result.value is Verdict.ACCEPTED:
            outbox.mark_broadcast(flight.newest)
        elif result.value is Verdict.NO_FUNDS:
            wait = NO_FUNDS_WAIT_SECONDS
            logger.error("keeper_without_funds", keeper=flight.newest.keeper)
        elif result.value is Verdict.UNDERPRICED and flight.newest.broadcast_at is None:
            self._ask_for_fees(flight)
            return  # still busy, until the replacement is signed
        flight.busy, flight.send_at = False, time.monotonic() + wait

    def _send_failed(self, flight: Flight, error: Exception) -> None:
        flight.failures += 1
        wait = backoff_seconds(flight.failures, base=0.5, cap=10.0)
        self._log_failure("broadcast_failed", error)
        flight.busy, flight.send_at = False, time.monotonic() + wait

    def _replace(self, flight: Flight, result: CallResult) -> None:
        if result.error is not None:
            self._send_failed(flight, result.error)
            return
        old, history = flight.newest, result.value
        fees = self._higher_fees(old, history)
        if fees is None:
            logger.error("replacement_above_ceiling", tx_hash=old.tx_hash, nonce=old.nonce)
            if old.broadcast_at is not None:
                self._broadcast(flight)  # the same bytes, again and again
            else:  # the node has refused just these a moment ago
                flight.busy, flight.send_at = False, time.monotonic() + REBROADCAST_SECONDS
            return
        if self.drain.stopping:
            # The next drain must know every hash, and it has read them already.
            flight.busy = False
            return
        data = encode_reveal(old.token_ids, old.metadata_uris)
        row = outbox.store_replacement(keeper=self.drain.keeper, old=old, data=data, fees=fees)
        flight.rows.append(row)
        flight.busy, flight.send_at = False, 0.0
        self.send_due()

    def _higher_fees(self, old: RevealTransaction, history: FeeHistory) -> Fees | None:
        paid = Fees(int(old.max_fee_per_gas_wei), int(old.max_priority_fee_per_gas_wei))
        return bump_fees(paid, history, ceiling_wei=configured_ceiling_wei())

    # -- watching -----------------------------------------------------------------------

    def watch(self) -> None:
        """Ask for the receipts of everything in flight, in one round trip."""
        if not self.by_batch or self._watching or time.monotonic() < self._watched_at:
            return
        hashes = [row.tx_hash for flight in self.by_batch.values() for row in flight.rows]
        keeper = next(iter(self.by_batch.values())).newest.keeper
        self._watching = True
        self.drain.submit(
            "receipts", keeper, lambda: self.chain.receipts(keeper=keeper, tx_hashes=hashes)
        )

    def _watched(self, result: CallResult) -> None:
        self._watching = False
        if result.error is not None:
            self._watch_failures += 1
            wait = backoff_seconds(self._watch_failures, base=0.5, cap=10.0)
            self._log_failure("receipts_unavailable", result.error)
            self._watched_at = time.monotonic() + wait
            return
        was_away, self._watch_failures = self._watch_failures > 0, 0
        self._watched_at = time.monotonic() + RECEIPT_POLL_SECONDS
        head, transaction_count, receipts = result.value
        for batch_id, flight in list(self.by_batch.items()):
            # The count says nothing of another keeper's nonces (the key was changed).
            count = transaction_count if flight.newest.keeper == result.key else 0
            if self._settle(flight, head, count, receipts):
                del self.by_batch[batch_id]
                self.drain.note_progress()
        if was_away:
            self._send_again()

    def _send_again(self) -> None:
        """Have everything broadcast at once: a node that was away may have lost its pool."""
        for flight in self.by_batch.values():
            if not flight.busy:
                flight.send_at = 0.0

    def _settle(
        self,
        flight: Flight,
        head: Head,
        transaction_count: int,
        receipts: dict[str, Receipt | None],
    ) -> bool:
        """Close the batch if its fate is sure; return whether it is closed."""
        for row in flight.rows:
            receipt = receipts.get(row.tx_hash)
            if receipt is None:
                continue
            flight.spent_since = None
            if head.number - receipt.block_number + 1 < settings.REVEAL_CONFIRMATIONS:
                return False
            if receipt.succeeded:
                settlement.confirm(
                    row, receipt, revealed_at=_mined_at(head, receipt), actor=self.drain.owner
                )
            else:
                settlement.release_reverted(row, receipt, actor=self.drain.owner)
            return True
        return self._is_superseded(flight, transaction_count)

    def _is_superseded(self, flight: Flight, transaction_count: int) -> bool:
        if transaction_count <= flight.newest.nonce:
            flight.spent_since = None
            return False
        now = time.monotonic()
        if flight.spent_since is None:
            flight.spent_since = now
        if now - flight.spent_since < SUPERSEDED_AFTER_SECONDS:
            return False
        rows = outbox.transactions_of(flight.newest.batch_id)
        if len(rows) > len(flight.rows):  # signed by a drain that was ending
            flight.rows, flight.spent_since = rows, None
            return False
        settlement.release_superseded(flight.rows)
        return True

    def _log_failure(self, event: str, error: Exception) -> None:
        fault = as_provider_error(error, vendor="chain")
        logger.warning(event, error=str(fault), exc_info=None if fault is error else error)

    def next_turn_seconds(self) -> float | None:
        """Return when to watch or send next, or None if nothing is in flight."""
        if not self.by_batch:
            return None
        now = time.monotonic()
        sends = [flight.send_at - now for flight in self.by_batch.values() if not flight.busy]
        return max(0.0, min([*sends, self._watched_at - now]))

    @property
    def chain(self) -> ChainClient:
        return self.drain.chain


def _mined_at(head: Head, receipt: Receipt) -> datetime:
    """Return the block's own time if it is the newest; else now, which is close enough."""
    return head.timestamp if receipt.block_number == head.number else timezone.now()

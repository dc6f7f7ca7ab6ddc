"""The transactions in flight: who they are, and what became of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from glisk.backoff import backoff_seconds
from glisk.clock import boot_seconds, database_now
from glisk.engine.drain import CallResult
from glisk.errors import as_provider_error
from reveals import outbox, settlement
from reveals.inclusion import Included, look_for_receipts
from reveals.models import RevealTransaction
from reveals.nonce_gaps import GapWatch
from reveals.preparing import Unmined
from reveals.sending import Flight, Sender

if TYPE_CHECKING:
    from reveals.drain import RevealDrain

logger = structlog.get_logger(__name__)

RECEIPT_POLL_SECONDS = 0.4
# So long must the chain show the nonce as spent, and none of our receipts, before we believe
# that somebody else used the keeper: a lagging node shows the same for a moment.
SUPERSEDED_AFTER_SECONDS = 20.0
# So long has a former keeper's transaction its chance with us.
ABANDONED_AFTER_SECONDS = 20.0


class Flights:
    def __init__(self, drain: RevealDrain) -> None:
        self.drain = drain
        self.by_batch: dict[int, Flight] = {}
        self.sender = Sender(drain, self.by_batch)
        self.gaps = GapWatch(drain)
        self._watched_at = 0.0
        self._watching = False
        self._watch_failures = 0
        self.reload()

    def reload(self) -> None:
        """Take up the open batches of the database that are not known yet."""
        for batch_id, rows in outbox.open_transactions().items():
            self.by_batch.setdefault(batch_id, Flight(rows))

    @property
    def room(self) -> int:
        """How many more transactions the keeper may have in flight; a former one's do not count."""
        return int(settings.REVEAL_MAX_IN_FLIGHT) - len(self._ours())

    def unmined(self) -> dict[int, Unmined]:
        """Return the keeper's transactions in flight, by their nonces."""
        return {row.nonce: Unmined(row.most_wei, len(row.raw_transaction)) for row in self._ours()}

    def _ours(self) -> list[RevealTransaction]:
        """Return the newest transaction of each nonce of the keeper of today."""
        newest = (flight.newest for flight in self.by_batch.values())
        return [row for row in newest if row.keeper == self.drain.keeper.address]

    def add(self, row: RevealTransaction) -> None:
        """Send a transaction that was signed right now, for what the chain said right now."""
        self.by_batch[row.batch_id] = Flight([row], reviewed_at=boot_seconds())
        self.send_due()

    def send_due(self) -> None:
        self.sender.send_due()

    def take(self, results: list[CallResult]) -> None:
        for result in results:
            if result.kind == "receipts":
                self._watched(result)
            elif result.kind in ("broadcast", "review"):
                self.sender.take(result)
            elif result.kind == "fill":
                row = self.gaps.fill(result)
                if row is not None:
                    self.add(row)

    # -- watching -----------------------------------------------------------------------

    def watch(self) -> None:
        """Ask for the receipts of everything in flight, in one round trip for each keeper."""
        if not self.by_batch or self._watching or time.monotonic() < self._watched_at:
            return
        rows = [row for flight in self.by_batch.values() for row in flight.rows]
        chain, confirmations = self.drain.chain, settings.REVEAL_CONFIRMATIONS
        self._watching = True
        self.drain.submit(
            "receipts", None, lambda: look_for_receipts(chain, rows, confirmations=confirmations)
        )

    def _watched(self, result: CallResult) -> None:
        self._watching = False
        if result.error is not None:
            self._watch_failures += 1
            wait = backoff_seconds(self._watch_failures, base=0.5, cap=10.0)
            fault = as_provider_error(result.error, vendor="chain")
            logger.warning(
                "receipts_unavailable",
                error=str(fault),
                exc_info=None if fault is result.error else result.error,
            )
            self._watched_at = time.monotonic() + wait
            return
        was_away, self._watch_failures = self._watch_failures > 0, 0
        self._watched_at = time.monotonic() + RECEIPT_POLL_SECONDS
        found: Included = result.value
        for batch_id, flight in list(self.by_batch.items()):
            if self._settle(flight, found):
                del self.by_batch[batch_id]
                self.drain.note_progress()
                self.drain.depth.hurry()
        keeper = self.drain.keeper.address
        nonces = [row.nonce for row in self._ours()]
        self.gaps.look(nonces, found.transaction_counts.get(keeper))
        if was_away:
            self._send_again()

    def _send_again(self) -> None:
        """Have everything broadcast at once: a node that was away may have lost its pool."""
        for flight in self.by_batch.values():
            if not flight.busy:
                flight.send_at = 0.0

    def _settle(self, flight: Flight, found: Included) -> bool:
        """Close the batch if its fate is sure; return whether it is closed."""
        closed = settlement.close_by_receipt(flight.rows, found, actor=self.drain.owner)
        if closed is not None:
            flight.spent_since = None
            return closed
        count = found.transaction_counts.get(flight.newest.keeper, 0)
        return self._is_superseded(flight, count) or self._is_abandoned(flight, count)

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

    def _is_abandoned(self, flight: Flight, transaction_count: int) -> bool:
        """Give up what a former keeper signed and the chain does not take.

        Nobody can replace it, and perhaps that keeper has lost its role or its funds. Should it
        be mined after all, it reveals what was verified, or nothing at all.
        """
        row = flight.newest
        now = time.monotonic()
        if row.keeper == self.drain.keeper.address or transaction_count > row.nonce:
            return False
        if now - flight.taken_up_at < ABANDONED_AFTER_SECONDS:
            return False
        age = (database_now() - row.signed_at).total_seconds()
        if age < settings.TRANSACTION_TIMEOUT_SECONDS:
            return False
        settlement.release_abandoned(outbox.transactions_of(row.batch_id))
        return True

    def next_turn_seconds(self) -> float | None:
        """Return when to watch or send next, or None if nothing is in flight."""
        if not self.by_batch:
            return None
        now = time.monotonic()
        sends = [flight.send_at - now for flight in self.by_batch.values() if not flight.busy]
        return max(0.0, min([*sends, self._watched_at - now]))

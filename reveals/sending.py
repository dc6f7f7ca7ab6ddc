"""Send what is in flight: review, broadcast, broadcast again, replace; in nonce order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings

from glisk.backoff import backoff_seconds
from glisk.clients.chain import RevertError, RpcError
from glisk.clock import boot_seconds, database_now
from glisk.engine.drain import CallResult
from glisk.errors import AccountError, InvalidRequestError, as_provider_error
from reveals import gate, outbox
from reveals.broadcasting import Verdict, broadcast
from reveals.candidates import candidates_of
from reveals.fees import PERCENTILES, Fees, bump_fees, cap_fees, configured_ceiling_wei
from reveals.hurrying import Hurries
from reveals.models import RevealTransaction
from reveals.reviewing import Review, review

if TYPE_CHECKING:
    from reveals.drain import RevealDrain

logger = structlog.get_logger(__name__)

# A transaction that the node has taken is sent again this often, in case its pool dropped it.
REBROADCAST_SECONDS = 15.0
NO_FUNDS_WAIT_SECONDS = 5.0
# A minute of refusals or silence is worth an operator's look.
ALARM_AFTER_FAILURES = 8
# A review that finds a mint missing is repeated, and believed after so long.
REVIEW_AGAIN_SECONDS = 2.0
BELIEVED_AFTER_SECONDS = 60.0
# What a node says of the transaction itself: some try it out before they take it, and it reverts.
_REFUSALS = (RpcError, RevertError, InvalidRequestError)


@dataclass
class Flight:
    """One open batch: every transaction signed for its nonce, the newest last."""

    rows: list[RevealTransaction]
    # When the chain was last asked about its tokens, in this process's life and since it was last
    # opened; boot_seconds.
    reviewed_at: float | None = None
    underpriced: bool = False  # the node said so of the newest one
    # Since when nodes refuse the newest one for a reason that nobody knows, or call its nonce
    # spent; monotonic.
    refused_since: float | None = None
    hurried: bool = False  # an operator wants it replaced
    send_at: float = 0.0  # monotonic
    failures: int = 0
    busy: bool = False
    calls: int = 0  # a result may be delivered twice: only the last call's counts
    late_since: float | None = None
    spent_since: float | None = None
    taken_up_at: float = field(default_factory=time.monotonic)

    @property
    def newest(self) -> RevealTransaction:
        return self.rows[-1]

    @property
    def was_taken(self) -> bool:
        """Whether a node has ever accepted one of its transactions."""
        return any(row.broadcast_at is not None for row in self.rows)

    @property
    def is_reviewed(self) -> bool:
        """Whether its bytes may go out as they are.

        What a node has taken is public, and may be mined whatever the chain says now. What none
        has taken is looked at again when the last look is old: nobody but us can send it.
        """
        if self.reviewed_at is None:
            return False
        return self.was_taken or boot_seconds() - self.reviewed_at <= gate.FACTS_LAST_SECONDS


class Sender:
    def __init__(self, drain: RevealDrain, by_batch: Mapping[int, Flight]) -> None:
        self.drain = drain
        self.by_batch = by_batch
        self.hurries = Hurries()

    def send_due(self) -> None:
        """Broadcast what has not been taken yet, replace what takes too long.

        A nonce goes out when the one before it was taken, so that no node sees a gap.
        """
        now = time.monotonic()
        self._notice_hurries()
        waiting_for: set[str] = set()
        for flight in sorted(self.by_batch.values(), key=lambda f: f.newest.nonce):
            keeper = flight.newest.keeper
            if keeper in waiting_for:
                continue
            if not flight.was_taken:
                waiting_for.add(keeper)
            if flight.busy or now < flight.send_at:
                continue
            if not flight.is_reviewed or self._wants_replacement(flight):
                self._review(flight)
            else:
                self._broadcast(flight)

    def _notice_hurries(self) -> None:
        """Have the batches that an operator wants replaced reviewed in this turn."""
        if not self.by_batch:
            return
        for batch_id in self.hurries.wanted():
            flight = self.by_batch.get(batch_id)
            if flight is not None and not flight.hurried:
                flight.hurried, flight.send_at = True, 0.0

    def _wants_replacement(self, flight: Flight) -> bool:
        return flight.underpriced or flight.hurried or self._overdue(flight)

    def take(self, result: CallResult) -> None:
        """Take the result of a broadcast or a review."""
        batch_id, call = result.key
        flight = self.by_batch.get(batch_id)
        if flight is None or not flight.busy or flight.calls != call:
            return
        if result.error is not None:
            self._failed(flight, result.kind, result.error)
        elif result.kind == "broadcast":
            self._sent(flight, result.value)
        else:
            self._reviewed(flight, result.value)

    def _broadcast(self, flight: Flight) -> None:
        chain, raw = self.drain.chain, bytes(flight.newest.raw_transaction)
        self._submit(flight, "broadcast", lambda: broadcast(chain, raw))

    def _submit(self, flight: Flight, kind: str, call: Callable[[], Any]) -> None:
        flight.busy, flight.calls = True, flight.calls + 1
        self.drain.submit(kind, (flight.newest.batch_id, flight.calls), call)

    def _is_ours(self, row: RevealTransaction) -> bool:
        """Tell whether we can sign in its place: its keeper is that of the settings."""
        return row.keeper == self.drain.keeper.address

    def _overdue(self, flight: Flight) -> bool:
        """Tell whether the newest one has been stuck, or refused, for too long."""
        row, age = flight.newest, 0.0
        if not self._is_ours(row):
            return False
        if row.broadcast_at is not None:
            age = (database_now() - row.broadcast_at).total_seconds()
        elif flight.refused_since is not None:
            age = time.monotonic() - flight.refused_since
        return age > settings.TRANSACTION_TIMEOUT_SECONDS

    def _sent(self, flight: Flight, verdict: Verdict) -> None:
        flight.failures = 0
        if verdict is not Verdict.NONCE_SPENT:
            flight.refused_since = None
        elif flight.refused_since is None:
            # Receipts tell by what it was spent. If nothing was mined, another transaction in the
            # node's pool has the nonce, and this one has to outbid it.
            flight.refused_since = time.monotonic()
        wait = REBROADCAST_SECONDS
        if verdict is Verdict.ACCEPTED:
            outbox.mark_broadcast(flight.newest)
        elif verdict is Verdict.NO_FUNDS:
            wait = NO_FUNDS_WAIT_SECONDS
            problem = _no_funds(flight.newest)
            if self._is_ours(flight.newest):
                self.drain.chain_breaker.failed(problem)
            else:  # no reason for the keeper of today to stop
                logger.warning("former_keeper_without_funds", error=str(problem))
        elif verdict is Verdict.UNDERPRICED and flight.newest.broadcast_at is None:
            flight.underpriced, wait = True, 0.0
        _pause(flight, wait)

    def _failed(self, flight: Flight, kind: str, error: Exception) -> None:
        flight.failures += 1
        fault = as_provider_error(error, vendor="chain")
        if kind == "broadcast" and isinstance(error, _REFUSALS):
            outbox.note_refusal(flight.newest, str(fault))
            if flight.refused_since is None:
                flight.refused_since = time.monotonic()
        logger.log(
            logging.ERROR if flight.failures > ALARM_AFTER_FAILURES else logging.WARNING,
            "send_failed",
            step=kind,
            tx_hash=flight.newest.tx_hash,
            error=str(fault),
            exc_info=None if fault is error else error,
        )
        _pause(flight, backoff_seconds(flight.failures, base=0.5, cap=10.0))

    # -- review, replacement ------------------------------------------------------------

    def _review(self, flight: Flight) -> None:
        chain, rows = self.drain.chain, list(flight.rows)
        candidates = candidates_of(flight.newest)
        percentile = PERCENTILES[settings.KEEPER_GAS_STRATEGY]
        confirmations = settings.MINT_CONFIRMATIONS
        self._submit(
            flight,
            "review",
            lambda: review(
                chain, rows, candidates, confirmations=confirmations, percentile=percentile
            ),
        )

    def _reviewed(self, flight: Flight, found: Review) -> None:
        """Send the newest bytes, or sign others in their place, as the chain stands now."""
        flight.failures = 0
        if found.spent:
            flight.reviewed_at = boot_seconds()
            _pause(flight, REBROADCAST_SECONDS)  # its receipt, or the lack of one, decides
            return
        if found.late and not self._believed(flight, found):
            _pause(flight, REVIEW_AGAIN_SECONDS)
            return
        row = flight.newest
        passing = found.passing(row.token_ids)
        if len(passing) < len(row.token_ids):
            self._replace(flight, found, passing)
            return
        flight.reviewed_at, flight.late_since = boot_seconds(), None
        if self._wants_replacement(flight):
            self._replace(flight, found, passing)
        else:
            self._broadcast(flight)

    def _believed(self, flight: Flight, found: Review) -> bool:
        """Tell whether a mint has been missing for so long that it is no node's lag."""
        now = time.monotonic()
        if flight.late_since is None:
            flight.late_since = now
            logger.warning(
                "reveal_held_back",
                tx_hash=flight.newest.tx_hash,
                reasons=sorted({o.error_class for o in found.objections}),
            )
        return now - flight.late_since >= BELIEVED_AFTER_SECONDS

    def _replace(self, flight: Flight, found: Review, token_ids: Sequence[int]) -> None:
        """Sign for the same nonce with higher fees; if that may not be, the old bytes stay.

        Bytes that reveal what they must not are never sent again, though: rather others at the
        ceiling, which a node takes that does not have the old ones.
        """
        old, ceiling_wei = flight.newest, configured_ceiling_wei()
        paid = Fees(int(old.max_fee_per_gas_wei), int(old.max_priority_fee_per_gas_wei))
        is_too_little = flight.underpriced and not flight.was_taken
        fees = bump_fees(paid, found.history, ceiling_wei=ceiling_wei, is_too_little=is_too_little)
        if fees is None and len(token_ids) < len(old.token_ids):
            fees = cap_fees(paid, ceiling_wei=ceiling_wei)
        if fees is None or not self._is_ours(old):
            logger.error("replacement_impossible", tx_hash=old.tx_hash, nonce=old.nonce)
            # The price may fall: the same bytes have their chance.
            flight.underpriced, flight.refused_since = False, None
            self._stop_hurrying(flight)
            if len(token_ids) == len(old.token_ids) and old.broadcast_at is not None:
                self._broadcast(flight)  # the same bytes, again and again
            else:  # the node has refused just these a moment ago, or they must not be mined
                _pause(flight, REBROADCAST_SECONDS)
            return
        if self.drain.stopping:
            # The next drain must know every hash, and it has read them already.
            flight.busy = False
            return
        row = outbox.store_replacement(
            keeper=self.drain.keeper, old=old, fees=fees, token_ids=token_ids
        )
        flight.rows.append(row)
        flight.reviewed_at, flight.underpriced = boot_seconds(), False
        flight.refused_since = None
        self._stop_hurrying(flight)
        _pause(flight, 0.0)
        self.send_due()

    def _stop_hurrying(self, flight: Flight) -> None:
        if flight.hurried:
            flight.hurried = False
            self.hurries.forget(flight.newest.batch_id)


def _pause(flight: Flight, seconds: float) -> None:
    flight.busy, flight.send_at = False, time.monotonic() + seconds


def _no_funds(row: RevealTransaction) -> AccountError:
    return AccountError(
        f"The keeper {row.keeper} cannot pay for {row.tx_hash}, which may cost "
        f"{row.most_wei / 1e18:.6f} ETH. "
        "Send it some; reveals go on by themselves.",
        vendor="chain",
        code="no_funds",
    )

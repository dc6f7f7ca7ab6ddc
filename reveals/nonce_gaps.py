"""A nonce that the chain waits for, below all that are in flight: find it, and fill it.

Either the batch that spent it was closed and a reorg took it back, or somebody else's transaction
had it, and is gone: then a reveal of nothing takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from glisk.engine.drain import CallResult
from reveals import outbox
from reveals.fees import PERCENTILES, GasPriceTooHighError, choose_fees, configured_ceiling_wei
from reveals.models import RevealTransaction

if TYPE_CHECKING:
    from reveals.drain import RevealDrain

logger = structlog.get_logger(__name__)

# So long must the chain miss the nonce, before we believe in a gap.
GAP_AFTER_SECONDS = 20.0


class GapWatch:
    def __init__(self, drain: RevealDrain) -> None:
        self.drain = drain
        self._since: float | None = None

    def look(self, nonces: Sequence[int], transaction_count: int | None) -> None:
        """Compare the keeper's nonces in flight with its number of mined transactions."""
        if not nonces or transaction_count is None or transaction_count >= min(nonces):
            self._since = None
            return
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since < GAP_AFTER_SECONDS:
            return
        self._since = None
        keeper = self.drain.keeper.address
        logger.error("nonce_gap", keeper=keeper, nonce=transaction_count, in_flight=sorted(nonces))
        if outbox.unsettle(keeper=keeper, nonce=transaction_count):
            self.drain.depth.hurry()
            return
        chain, percentile = self.drain.chain, PERCENTILES[settings.KEEPER_GAS_STRATEGY]
        self.drain.submit(
            "fill", transaction_count, lambda: chain.fee_history(percentile=percentile)
        )

    def fill(self, result: CallResult) -> RevealTransaction | None:
        """Sign and store what takes the nonce, at the fees that were asked for."""
        if result.error is not None or self.drain.stopping:
            return None  # it is noticed again
        try:
            fees = choose_fees(result.value, ceiling_wei=configured_ceiling_wei())
        except GasPriceTooHighError as error:
            logger.warning("nonce_gap_stays", error=str(error))
            return None
        return outbox.store_filler(keeper=self.drain.keeper, nonce=result.key, fees=fees)

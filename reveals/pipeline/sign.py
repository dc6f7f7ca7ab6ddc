"""Sign: what stands in a batch's row becomes the bytes of a transaction.

claims   open batches with a call that is not signed yet
calls    the keeper's signer, which takes 8 ms
settles  the raw transaction, before anybody outside sees it
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from glisk.clients.chain import encode_reveal
from glisk.errors import backoff_seconds
from reveals import outbox
from reveals.keeper import SignedTransaction
from reveals.models import RevealBatch
from reveals.outbox import RevealStep, Unsigned

logger = structlog.get_logger(__name__)


class Sign(RevealStep[RevealBatch, SignedTransaction]):
    most = 2

    def claim(self, limit: int) -> Sequence[RevealBatch]:
        unsigned = [batch for batch in self.shared.open if batch.to_sign is not None]
        for batch in unsigned:
            if batch.keeper != self.keeper.address:
                outbox.drop_unsigned(batch)
        ours = [batch for batch in unsigned if batch.keeper == self.keeper.address]
        return [batch for batch in ours if batch not in self.under_way][:limit]

    def call(self, work: RevealBatch) -> SignedTransaction:
        unsigned = Unsigned.read(work)
        return self.keeper.sign(
            nonce=work.nonce,
            data=encode_reveal(unsigned.token_ids, unsigned.metadata_uris),
            gas_limit=unsigned.gas_limit,
            max_fee_per_gas_wei=unsigned.max_fee_per_gas_wei,
            max_priority_fee_per_gas_wei=unsigned.max_priority_fee_per_gas_wei,
        )

    def done(self, work: RevealBatch, value: SignedTransaction) -> None:
        outbox.store_signed(work, value)

    def failed(self, work: RevealBatch, error: Exception) -> None:
        self.failures += 1
        logger.error("signing_failed", nonce=work.nonce, exc_info=error)
        self.pause(backoff_seconds(self.failures, base=0.5, cap=10.0))

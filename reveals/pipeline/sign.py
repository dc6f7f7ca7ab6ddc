"""Sign: what stands in a batch's row becomes the bytes of a transaction.

claims   open batches with a call that is not signed yet
calls    the keeper's signer: a key here (8 ms), or AWS KMS
settles  the raw transaction, before anybody outside sees it

A signer that is away is a breaker: batches wait in their rows, with their nonces, and one of them
is the probe.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from glisk.breaker import Breaker
from glisk.clients.chain import encode_reveal
from glisk.clients.signers import VENDOR, SignedTransaction
from glisk.errors import as_provider_error
from reveals import outbox
from reveals.models import RevealBatch
from reveals.outbox import RevealStep, Unsigned

logger = structlog.get_logger(__name__)


class Sign(RevealStep[RevealBatch, SignedTransaction]):
    most = 2

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.shared.signer,)

    def due_in(self) -> float | None:
        return self.shared.signer.seconds_until_probe if self.shared.signer_is_away else None

    def claim(self, limit: int) -> Sequence[RevealBatch]:
        unsigned = [batch for batch in self.shared.open if batch.to_sign is not None]
        for batch in unsigned:
            if batch.keeper != self.keeper.address:
                outbox.drop_unsigned(batch)
        ours = [batch for batch in unsigned if batch.keeper == self.keeper.address]
        waiting = [batch for batch in ours if batch not in self.under_way][:limit]
        return waiting[: self.shared.signer.places(len(waiting))] if waiting else []

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
        self.shared.signer.succeeded()
        outbox.store_signed(work, value)

    def failed(self, work: RevealBatch, error: Exception) -> None:
        """Have every signature wait: it is the signer, and no single batch."""
        fault = as_provider_error(error, vendor=VENDOR)
        if fault is not error:
            logger.error("signing_failed", nonce=work.nonce, exc_info=error)
        self.shared.signer.failed(fault)

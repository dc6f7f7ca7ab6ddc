"""Sign: what stands in a batch's row becomes the bytes of a transaction.

claims   open batches with a call that is not signed yet
calls    the keeper's signer, which takes 8 ms
settles  the raw transaction, before anybody outside sees it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from glisk.clients.chain import encode_reveal
from glisk.clock import database_now
from glisk.engine.step import Done, Failed
from glisk.errors import backoff_seconds
from reveals import outbox
from reveals.keeper import SignedTransaction
from reveals.models import RevealBatch
from reveals.outbox import RevealStep, Unsigned

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ToSign:
    batch: RevealBatch
    unsigned: Unsigned


class Sign(RevealStep[ToSign, SignedTransaction]):
    most = 2

    def due_in(self) -> float | None:
        return outbox.seconds_until_due(b for b in self.shared.open if b.to_sign is not None)

    def claim(self, limit: int) -> Sequence[ToSign]:
        now, busy = database_now(), {work.batch.pk for work in self.under_way}
        works = []
        for batch in self.shared.open:
            if batch.to_sign is None or batch.pk in busy:
                continue
            if batch.keeper != self.keeper.address:
                outbox.drop_unsigned(batch)
            elif outbox.is_due(batch, now):
                works.append(ToSign(batch, Unsigned(**batch.to_sign)))
        return works[:limit]

    def call(self, work: ToSign) -> SignedTransaction:
        return self.keeper.sign(
            nonce=work.batch.nonce,
            data=encode_reveal(work.unsigned.token_ids, work.unsigned.metadata_uris),
            gas_limit=work.unsigned.gas_limit,
            max_fee_per_gas_wei=work.unsigned.max_fee_per_gas_wei,
            max_priority_fee_per_gas_wei=work.unsigned.max_priority_fee_per_gas_wei,
        )

    def settle(
        self, done: Sequence[Done[ToSign, SignedTransaction]], failed: Sequence[Failed[ToSign]]
    ) -> None:
        for each in done:
            outbox.store_signed(each.work.batch, each.work.unsigned, each.value)
        for lost in failed:
            batch = lost.work.batch
            logger.error("signing_failed", nonce=batch.nonce, exc_info=lost.error)
            wait = backoff_seconds(batch.failures + 1, base=0.5, cap=10.0)
            outbox.send_later(batch, wait, failures=batch.failures + 1)

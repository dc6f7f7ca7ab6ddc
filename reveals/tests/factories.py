"""Factories of reveal batches and their transactions.

`RevealBatchFactory.create(tokens=[…])` makes an open batch with one broadcast transaction;
`RevealTransactionFactory.create(batch=…, replaces=…)` adds a replacement to it.
"""

from collections.abc import Sequence
from typing import Any

import factory

from authors.tests.factories import wallet
from reveals.models import (
    BatchStatus,
    RevealBatch,
    RevealBatchToken,
    RevealTransaction,
    TransactionStatus,
)
from tokens.models import Token
from tokens.tests.factories import hash32


class RevealTransactionFactory(factory.django.DjangoModelFactory[RevealTransaction]):
    """A broadcast transaction for the tokens of its batch."""

    class Meta:
        model = RevealTransaction

    batch = factory.SubFactory("reveals.tests.factories.RevealBatchFactory", with_transaction=False)
    tx_hash = factory.Sequence(lambda n: hash32(0x7E000000 + n))
    keeper = factory.SelfAttribute("batch.keeper")
    nonce = factory.SelfAttribute("batch.nonce")
    token_ids = factory.LazyAttribute(lambda row: [item.token_id for item in row.batch.items.all()])
    metadata_uris = factory.LazyAttribute(
        lambda row: [item.metadata_uri for item in row.batch.items.all()]
    )
    raw_transaction = b"\x02signed"
    gas_limit = 200_000
    max_fee_per_gas_wei = 12_000_000
    max_priority_fee_per_gas_wei = 1_000_000
    status = TransactionStatus.BROADCAST


class RevealBatchFactory(factory.django.DjangoModelFactory[RevealBatch]):
    """A batch of the given ready tokens, with one transaction unless told otherwise."""

    class Meta:
        model = RevealBatch
        skip_postgeneration_save = True

    keeper = factory.LazyFunction(lambda: wallet(0x4B))
    nonce = factory.Sequence(lambda n: n)
    status = BatchStatus.OPEN

    @factory.post_generation
    def tokens(self: Any, create: bool, extracted: Sequence[Token] | None, **_: Any) -> None:
        for position, token in enumerate(extracted or ()):
            RevealBatchToken.objects.create(
                batch=self,
                token=token,
                position=position,
                metadata_uri=token.token_uri or "",
                is_open=self.status == BatchStatus.OPEN,
            )

    @factory.post_generation
    def with_transaction(self: Any, create: bool, extracted: bool | None, **_: Any) -> None:
        if extracted is not False:
            RevealTransactionFactory.create(batch=self)

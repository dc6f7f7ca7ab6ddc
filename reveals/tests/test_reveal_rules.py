"""What the database refuses of batches and transactions, one rule each."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError

from authors.tests.factories import wallet
from reveals.models import BatchStatus, RevealBatchToken, RevealTransaction
from reveals.tests.factories import RevealBatchFactory, RevealTransactionFactory
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32

pytestmark = pytest.mark.django_db

URI = "ipfs://QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"
MINED = {"block_number": 1, "block_hash": hash32(1)}


def refused(rule: str) -> Any:
    return pytest.raises(IntegrityError, match=rule)


def test_a_nonce_belongs_to_one_batch() -> None:
    RevealBatchFactory.create(nonce=3, status=BatchStatus.CONFIRMED)
    RevealBatchFactory.create(nonce=3, keeper=wallet(9))
    with refused("reveal_batch_nonce_unique"), transaction.atomic():
        RevealBatchFactory.create(nonce=3)


def test_a_token_is_in_one_open_batch() -> None:
    token = TokenFactory.create(status=TokenStatus.READY)
    RevealBatchFactory.create(tokens=[token], status=BatchStatus.REVERTED)
    RevealBatchFactory.create(tokens=[token])
    with refused("reveal_token_in_one_open_batch"), transaction.atomic():
        RevealBatchFactory.create(tokens=[token])


def test_a_token_is_in_a_batch_once() -> None:
    token = TokenFactory.create(status=TokenStatus.READY)
    batch = RevealBatchFactory.create(tokens=[token], status=BatchStatus.CONFIRMED)
    with refused("reveal_batch_token_once"), transaction.atomic():
        RevealBatchToken.objects.create(
            batch=batch, token=token, position=1, metadata_uri=URI, is_open=False
        )


def test_a_keeper_is_an_address_and_a_hash_has_its_form_and_is_stored_once() -> None:
    row = RevealTransactionFactory.create()
    with refused("reveal_batch_keeper"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE reveal_batches SET keeper = '0x12'")
    with refused("reveal_tx_hash_form"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE reveal_transactions SET tx_hash = '0xAB'")
    with refused("tx_hash"), transaction.atomic():
        RevealTransactionFactory.create(batch=row.batch, tx_hash=row.tx_hash)


def test_what_was_signed_is_not_deleted_with_its_batch() -> None:
    batch = RevealBatchFactory.create()
    with pytest.raises(ProtectedError):
        batch.delete()
    assert RevealTransaction.objects.exists()


def test_a_uri_is_ipfs_and_a_cid() -> None:
    token = TokenFactory.create(status=TokenStatus.READY)
    batch = RevealBatchFactory.create()
    for uri in ("", "ipfs://", "ipfs://None", "https://x/ipfs/" + URI[7:], URI + "/1", " " + URI):
        with refused("reveal_uri_is_ipfs"), transaction.atomic():
            RevealBatchToken.objects.create(batch=batch, token=token, position=0, metadata_uri=uri)


@pytest.mark.parametrize("first", ["confirmed", "reverted"])
def test_one_transaction_is_mined_per_nonce_and_has_its_block(first: str) -> None:
    row = RevealTransactionFactory.create(status=first, **MINED)
    RevealTransactionFactory.create(batch=row.batch, status="replaced")
    for second in ("confirmed", "reverted"):
        with refused("reveal_one_mined_per_nonce"), transaction.atomic():
            RevealTransactionFactory.create(batch=row.batch, status=second, **MINED)
    for missing in MINED:
        with refused("reveal_mined_has_block"), transaction.atomic():
            RevealTransactionFactory.create(status=first, **{**MINED, missing: None})

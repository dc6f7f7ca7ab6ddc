"""The reveal's choice of tokens reads by index only."""

import pytest
from django.db import connection

from authors.tests.factories import wallet
from reveals.gate import waiting_tokens
from reveals.models import RevealBatch, RevealTransaction
from tokens.tests.plans import assert_uses, plans, table

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def batches(table: None) -> None:
    """Mints, and batches of every revealed token: without rows, the plan is one of chance."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO reveal_batches (keeper, nonce, status, created_at) "
            "SELECT %s, id, 'confirmed', now() FROM generate_series(1, 300) AS id",
            [wallet(0x4B)],
        )
        cursor.execute(
            "INSERT INTO reveal_batch_tokens (batch_id, token_id, position, metadata_uri, is_open) "
            "SELECT (SELECT min(id) FROM reveal_batches) + token_id % 300, token_id, 0, "
            "'ipfs://' || repeat('Q', 46), false FROM tokens_s0 WHERE status = 'revealed'"
        )
        cursor.execute(
            "INSERT INTO mint_events (tx_hash, log_index, block_number, block_hash, "
            "block_timestamp, minter, prompt_author, start_token_id, quantity, total_paid_wei, "
            "source, created_at) "
            "SELECT '0x' || lpad(to_hex(token_id), 64, '0'), 0, token_id, "
            "'0x' || lpad(to_hex(token_id), 64, '0'), now(), minter_address, "
            "prompt_author_wallet, token_id, 1, 0, 'webhook', now() FROM tokens_s0"
        )
        cursor.execute(
            "UPDATE tokens_s0 t SET mint_event_id = m.id FROM mint_events m "
            "WHERE m.start_token_id = t.token_id"
        )
        cursor.execute(
            "INSERT INTO reveal_verifications (token_id, image_cid, metadata_cid, verified_at) "
            "SELECT token_id, 'bafy', 'Qm', now() FROM tokens_s0"
        )
        RevealTransaction.objects.bulk_create(
            RevealTransaction(
                batch=batch,
                tx_hash=f"0x{batch.pk:064x}",
                raw_transaction=b"",
                keeper=batch.keeper,
                nonce=batch.nonce,
                token_ids=[1],
                metadata_uris=["ipfs://Qm"],
                gas_limit=1,
                max_fee_per_gas_wei=1,
                max_priority_fee_per_gas_wei=1,
            )
            for batch in RevealBatch.objects.all()
        )
        cursor.execute(
            "ANALYZE tokens_s0, mint_events, reveal_batches, reveal_batch_tokens, "
            "reveal_verifications, reveal_transactions"
        )


@pytest.mark.usefixtures("batches")
def test_the_choice_uses_its_index(plans: list[str]) -> None:
    waiting_tokens(250)
    (ready,) = plans
    assert_uses(ready, "token_ready")

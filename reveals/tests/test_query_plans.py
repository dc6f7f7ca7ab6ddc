"""The reveal's choice of tokens reads by index only."""

import pytest
from django.db import connection

from authors.tests.factories import wallet
from reveals.gate import waiting_tokens
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
        cursor.execute("ANALYZE tokens_s0, mint_events, reveal_batches, reveal_batch_tokens")


@pytest.mark.usefixtures("batches")
def test_the_choice_uses_its_index(plans: list[str]) -> None:
    waiting_tokens(250)
    (ready,) = plans
    assert_uses(ready, "token_ready")

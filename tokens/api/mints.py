"""A mint as the buyer follows it: its tokens, their places in line, how long it may take."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from tokens.api.estimates import LONGEST_LINE, pace
from tokens.api.public_errors import public_error
from tokens.api.wire import utc
from tokens.states import ACTIVE, TokenStatus

_SQL = """
    SELECT m.tx_hash, m.block_number, m.block_timestamp, m.minter, m.prompt_author,
           t.token_id, t.status, t.status_changed_at, t.image_cid, t.metadata_cid,
           t.reveal_tx_hash, t.error_class, t.held_at IS NOT NULL
    FROM mint_events m JOIN tokens_s0 t ON t.mint_event_id = m.id
    WHERE m.tx_hash = ANY (%s)
    ORDER BY m.tx_hash, m.log_index, t.token_id
"""
# One walk along the line, whatever the number of mints that are asked for.
_LINE_SQL = """
    SELECT token_id, place FROM (
        SELECT token_id, row_number() OVER (ORDER BY mint_timestamp, token_id) AS place
        FROM tokens_s0 WHERE status = ANY (%s)
        ORDER BY mint_timestamp, token_id LIMIT %s
    ) line
    WHERE token_id = ANY (%s)
"""


def mint_documents(tx_hashes: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return what the API tells of each known mint transaction, in two or three queries.

    A transaction may hold several mints; a buyer follows all of their tokens as one.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SQL, [list(tx_hashes)])
        rows = cursor.fetchall()
    line = _line([row[5] for row in rows if row[6] in ACTIVE])
    now = timezone.now()
    documents: dict[str, dict[str, Any]] = {}
    for tx_hash, block, minted_at, minter, author, *facts in rows:
        document = documents.setdefault(
            tx_hash,
            {
                "tx_hash": tx_hash,
                "block_number": block,
                "minted_at": utc(minted_at),
                "minter_address": minter,
                "author_address": author,
                "tokens": [],
            },
        )
        document["tokens"].append(_token(facts, line, now))
    for document in documents.values():
        tokens = document["tokens"]
        document["total"] = len(tokens)
        document["revealed"] = sum(token["status"] == TokenStatus.REVEALED for token in tokens)
        document["done"] = document["revealed"] == document["total"]
    return documents


def _line(token_ids: list[int]) -> dict[int, int]:
    """Return the places of tokens among all that are not revealed yet, oldest mint first."""
    if not token_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_LINE_SQL, [[*ACTIVE], LONGEST_LINE, token_ids])
        return dict(cursor.fetchall())


def _token(facts: list[Any], line: dict[int, int], now: datetime) -> dict[str, Any]:
    token_id, status, since, image_cid, metadata_cid, tx_hash, error_class, held = facts
    position = line.get(token_id)
    estimated = (
        None if held else pace().seconds(status=status, since=since, now=now, position=position)
    )
    return {
        "token_id": token_id,
        "status": status,
        "position": position,
        "estimated_seconds": estimated,
        "image_cid": image_cid,
        "metadata_cid": metadata_cid,
        "reveal_tx_hash": tx_hash,
        "error": public_error(status, error_class),
    }

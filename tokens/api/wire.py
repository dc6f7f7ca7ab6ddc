"""The JSON forms of a token, from the columns alone.

A page has a hundred tokens and is polled by every collector who waits: model instances and
serializer fields would take most of the request's time. Pages are even written as JSON by
PostgreSQL, which is four times as fast as reading rows here and does not hold up other requests
of this process. The serializers of tokens/api/serializers.py describe these forms for the schema; a
test holds the three together.
"""

from datetime import datetime
from typing import Any, Final

from tokens.api.public_errors import public_error, public_error_sql
from tokens.pipeline.metadata import token_name, token_uri
from tokens.querysets import TokenQuerySet

_COLUMNS: Final = (
    "token_id", "status", "image_cid", "metadata_cid", "image_url", "generation_attempts",
    "error_class", "reveal_tx_hash", "created_at",
    "prompt_author_wallet", "minter_address", "mint_timestamp", "revealed_at", "adopted_uri",
)  # fmt: skip
_UTC: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
# The listed form: what a page's query selects of the token row `t`, in the order of the answer.
LISTED: Final = f"""
    t.token_id, t.status, t.image_cid, t.metadata_cid, t.image_url, t.generation_attempts,
    {public_error_sql("t")} AS generation_error, t.reveal_tx_hash,
    to_char(t.created_at AT TIME ZONE 'UTC', '{_UTC}') AS created_at
"""
# A page of them as one text, newest first: what is selected FROM (…) page.
LISTED_JSON: Final = (
    "'[' || coalesce("
    "string_agg(row_to_json(page)::text, ',' ORDER BY page.token_id DESC), '') || ']'"
)


def detailed_tokens(tokens: TokenQuerySet) -> list[dict[str, Any]]:
    """Return tokens with who made them and where they stand on chain, in one query."""
    rows = tokens.values_list(*_COLUMNS)
    return [_detailed(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def utc(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with `Z` (frontend-contract), or None."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _detailed(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "token_id": row["token_id"],
        "status": row["status"],
        "image_cid": row["image_cid"],
        "metadata_cid": row["metadata_cid"],
        "image_url": row["image_url"],
        "generation_attempts": row["generation_attempts"],
        "generation_error": public_error(row["status"], row["error_class"]),
        "reveal_tx_hash": row["reveal_tx_hash"],
        "created_at": utc(row["created_at"]),
        "name": token_name(row["token_id"]),
        "author_address": row["prompt_author_wallet"],
        "minter_address": row["minter_address"],
        "mint_timestamp": utc(row["mint_timestamp"]),
        "revealed_at": utc(row["revealed_at"]),
        "token_uri": token_uri(metadata_cid=row["metadata_cid"], adopted_uri=row["adopted_uri"]),
    }

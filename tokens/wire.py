"""The JSON forms of a token, from the columns alone.

A page has a hundred tokens and is polled by every collector who waits: model instances and
serializer fields would take most of the request's time. The serializers of tokens/serializers.py
describe these forms for the schema; a test holds the two together.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connection

from tokens.models import Token
from tokens.public_errors import public_error
from tokens.querysets import TokenQuerySet

_LISTED: Final = (
    "token_id", "status", "image_cid", "metadata_cid", "image_url", "generation_attempts",
    "error_class", "reveal_tx_hash", "created_at",
)  # fmt: skip
LISTED_COLUMNS: Final = ", ".join(f"t.{name}" for name in _LISTED)
_DETAILS: Final = (
    "prompt_author_wallet", "minter_address", "mint_timestamp", "revealed_at", "adopted_uri",
)  # fmt: skip


def listed_rows(sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    """Return tokens as the frontend lists them, from a query that selects `LISTED_COLUMNS`."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [_listed(dict(zip(_LISTED, row, strict=True))) for row in cursor.fetchall()]


def detailed_tokens(tokens: TokenQuerySet) -> list[dict[str, Any]]:
    """Return tokens with who made them and where they stand on chain, in one query."""
    names = (*_LISTED, *_DETAILS)
    return [_detailed(row) for row in _rows(tokens.values_list(*names), names)]


def utc(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with `Z` (frontend-contract), or None."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _rows(tuples: Iterable[tuple[Any, ...]], names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for values in tuples:
        yield dict(zip(names, values, strict=True))


def _listed(row: dict[str, Any]) -> dict[str, Any]:
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
    }


def _detailed(row: dict[str, Any]) -> dict[str, Any]:
    token = Token(
        token_id=row["token_id"], metadata_cid=row["metadata_cid"], adopted_uri=row["adopted_uri"]
    )
    return {
        **_listed(row),
        "name": token.name,
        "author_address": row["prompt_author_wallet"],
        "minter_address": row["minter_address"],
        "mint_timestamp": utc(row["mint_timestamp"]),
        "revealed_at": utc(row["revealed_at"]),
        "token_uri": token.token_uri,
    }

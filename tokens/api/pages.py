"""The author's page, which every collector who waits asks for every two seconds.

PostgreSQL writes it as JSON: 200 polls a second are answered within 25 ms by two web processes
(`p95_ms` of the benchmark `api_reads`) at 1 to 2 ms of CPU each. By the ORM and the renderer a
poll takes 8 ms, which is more than two cores have. The serializers describe the same form for the
schema; a test holds them together.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from tokens.api.reads import author_total
from tokens.api.serializers import public_error_sql

# The frontend polls for five minutes after a mint; the chain's clock may differ from ours.
COLLECTED_SHOWN_FOR = timedelta(minutes=15)
# Of so many tokens an author's total is counted with the page, and is exact.
FEW: Final = 100

_UTC: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
_LISTED: Final = f"""
    t.token_id, t.status, t.image_cid, t.metadata_cid, t.image_url, t.generation_attempts,
    {public_error_sql("t")} AS generation_error, t.reveal_tx_hash,
    to_char(t.created_at AT TIME ZONE 'UTC', '{_UTC}') AS created_at
"""
_PAGE: Final = """
    SELECT '[' || coalesce(
        string_agg(row_to_json(page)::text, ',' ORDER BY page.token_id DESC), '') || ']',
    (
        SELECT count(*) FROM (
            SELECT token_id FROM tokens_s0
            WHERE prompt_author_wallet = %s ORDER BY token_id DESC LIMIT %s
        ) few
    )
    FROM ({}) page
"""
# The ids come first, from the index alone: what a deep offset skips is not read.
_AUTHOR_PAGE: Final = _PAGE.format(f"""
    SELECT {_LISTED} FROM tokens_s0 t WHERE t.token_id = ANY (ARRAY(
        SELECT token_id FROM tokens_s0
        WHERE prompt_author_wallet = %s ORDER BY token_id DESC LIMIT %s OFFSET %s
    ))
""")  # noqa: S608 - a constant
# Cut before the clock: else a wallet that minted much, long ago, is read from end to end.
_PROGRESS_PAGE: Final = _PAGE.format(f"""
    WITH minted AS MATERIALIZED (
        SELECT * FROM (
            SELECT token_id, mint_timestamp FROM tokens_s0
            WHERE minter_address = %s ORDER BY token_id DESC LIMIT %s
        ) newest
        WHERE mint_timestamp >= %s
    ), chosen AS (
        SELECT token_id, 1 AS place FROM minted
        UNION ALL (
            SELECT token_id, 2 FROM tokens_s0
            WHERE prompt_author_wallet = %s AND token_id NOT IN (SELECT token_id FROM minted)
            ORDER BY token_id DESC LIMIT %s
        )
        ORDER BY place, token_id DESC LIMIT %s
    )
    SELECT {_LISTED} FROM tokens_s0 t WHERE t.token_id = ANY (ARRAY(SELECT token_id FROM chosen))
""")  # noqa: S608 - a constant


@dataclass(frozen=True)
class AuthorPage:
    """Some tokens in the listed form, a JSON array, newest first; and how many the author has.

    The total is exact for a few tokens. For more it is at most two seconds old, or four while
    they are counted.
    """

    tokens: str
    total: int


def author_page(wallet: str, *, offset: int, limit: int) -> AuthorPage:
    """Return a page of an author's tokens (wallet: EIP-55)."""
    return _page(_AUTHOR_PAGE, wallet, [wallet, limit, offset])


def progress_page(wallet: str, *, limit: int) -> AuthorPage:
    """Return what a wallet's owner waits for: what they minted just now, and their author page.

    When there are more than `limit`, the oldest of the author page are left out; the total is the
    author's.
    """
    since = timezone.now() - COLLECTED_SHOWN_FOR
    return _page(_PROGRESS_PAGE, wallet, [wallet, limit, since, wallet, limit, limit])


def _page(sql: str, wallet: str, parameters: list[Any]) -> AuthorPage:
    with connection.cursor() as cursor:
        cursor.execute(sql, [wallet, FEW + 1, *parameters])
        tokens, few = cursor.fetchone()
    return AuthorPage(tokens, few if few <= FEW else author_total(wallet))

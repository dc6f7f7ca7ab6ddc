"""What many ask for at once: author pages, totals, the leaderboard.

PostgreSQL writes the author page as JSON, which every collector who waits asks for every two
seconds: 200 polls a second are answered within 25 ms by two web processes (`p95_ms` of the
benchmark `api_reads`) at 1 to 2 ms of CPU each. By the ORM and the renderer a poll takes 8 ms,
which is more than two cores have. The serializers describe the same form for the schema; a test
holds them together.
"""

import json
from datetime import timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Count, F
from django.db.models.functions import Collate
from django.utils import timezone

from glisk.api.short_memory import ShortMemory
from tokens.api.serializers import MAX_PAGE_SIZE, OTHER_ERROR, PUBLIC_ERRORS
from tokens.models import Token

LEADERBOARD_SIZE: Final = 50
LEADERBOARD_SECONDS: Final = 15
# The frontend polls for five minutes after a mint; the chain's clock may differ from ours.
COLLECTED_SHOWN_FOR: Final = timedelta(minutes=15)
# Of so many tokens an author's total is counted with the page, and is exact.
FEW: Final = 100

# Counting an author's 100,000 tokens takes ten times as long as reading a page of them, and
# counting everybody's a million takes half a second: then others do not wait for it.
_totals: ShortMemory[int] = ShortMemory(seconds=2, grace=2)
_leaders: ShortMemory[list[Any]] = ShortMemory(seconds=LEADERBOARD_SECONDS, grace=60)

# What was minted is cut before the clock: else a wallet that minted much, long ago, is read from
# end to end. The ids come first, from the index alone: what a deep offset skips is not read.
_PAGE: Final = """
    WITH minted AS MATERIALIZED (
        SELECT token_id FROM (
            SELECT token_id, mint_timestamp FROM tokens_s0
            WHERE minter_address = %(wallet)s ORDER BY token_id DESC LIMIT %(minted)s
        ) newest
        WHERE mint_timestamp >= %(since)s
    ), chosen AS (
        SELECT token_id, 1 AS place FROM minted
        UNION ALL (
            SELECT token_id, 2 FROM tokens_s0
            WHERE prompt_author_wallet = %(wallet)s
              AND token_id NOT IN (SELECT token_id FROM minted)
            ORDER BY token_id DESC LIMIT %(limit)s OFFSET %(offset)s
        )
        ORDER BY place, token_id DESC LIMIT %(limit)s
    ), page AS (
        SELECT t.token_id, t.status, t.image_cid, t.metadata_cid, t.image_url,
               t.generation_attempts,
               CASE t.status WHEN 'failed' THEN
                   coalesce(%(errors)s::jsonb ->> t.error_class, %(other_error)s)
               END AS generation_error,
               t.reveal_tx_hash,
               to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                   AS created_at
        FROM tokens_s0 t WHERE t.token_id = ANY (ARRAY(SELECT token_id FROM chosen))
    )
    SELECT '[' || coalesce(
        string_agg(row_to_json(page)::text, ',' ORDER BY page.token_id DESC), '') || ']',
    (
        SELECT count(*) FROM (
            SELECT token_id FROM tokens_s0
            WHERE prompt_author_wallet = %(wallet)s ORDER BY token_id DESC LIMIT %(few)s
        ) few
    )
    FROM page
"""


def author_page(wallet: str, *, offset: int, limit: int) -> tuple[str, int]:
    """Return tokens of an author (EIP-55) as a JSON array, newest first, and how many there are.

    The first page of the largest size is what a buyer polls: it has what the wallet minted just
    now, too; the oldest of the author's are left out for it. The total is the author's: exact for
    a few tokens; for more at most two seconds old, or four while they are counted.
    """
    polled = offset == 0 and limit == MAX_PAGE_SIZE
    given: dict[str, Any] = {
        "wallet": wallet,
        "offset": offset,
        "limit": limit,
        "minted": limit if polled else 0,
        "since": timezone.now() - COLLECTED_SHOWN_FOR,
        "few": FEW + 1,
        "errors": json.dumps(PUBLIC_ERRORS),
        "other_error": OTHER_ERROR,
    }
    with connection.cursor() as cursor:
        cursor.execute(_PAGE, given)
        tokens, few = cursor.fetchone()
    return tokens, few if few <= FEW else author_total(wallet)


def author_total(wallet: str) -> int:
    """Return how many tokens an author's wallet has, up to four seconds ago."""
    return _totals.get(wallet, lambda: Token.objects.filter(prompt_author_wallet=wallet).count())


def leaderboard() -> list[Any]:
    """Return the authors with most tokens: wallet and number, most first, then by address.

    At most fifteen seconds old, more only while they are counted.
    """
    return _leaders.get("all", _count_leaders)


def _count_leaders() -> list[Any]:
    rows = (
        Token.objects.order_by()
        .values(author_address=F("prompt_author_wallet"))
        .annotate(total_tokens=Count("pk"))
        # The database's own collation would sort differently from one machine to the next.
        .order_by("-total_tokens", Collate("prompt_author_wallet", "C"))
    )
    return list(rows[:LEADERBOARD_SIZE])

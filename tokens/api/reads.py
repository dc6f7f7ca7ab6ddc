"""What people read of tokens: lists, totals, the leaderboard, the gallery, author pages.

PostgreSQL writes the author page as JSON, which every collector who waits asks for every two
seconds: 200 polls a second are answered within 25 ms by two web processes (`p95_ms` of the
benchmark `api_reads`) at 1 to 2 ms of CPU each. By the ORM and the renderer a poll takes 8 ms,
which is more than two cores have. The serializers describe the same forms for the schema; a test
holds them together.
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from django.db import DatabaseError, InterfaceError, connection, models
from django.db.models.functions import Collate
from django.utils import timezone

from glisk.api.short_memory import ShortMemory
from tokens.api.serializers import TokenSerializer, public_error, public_error_sql
from tokens.models import Token
from tokens.models.token import TokenQuerySet, token_name, token_uri
from tokens.states import ACTIVE, TokenStatus

LEADERBOARD_SIZE: Final = 50
FAILED_SHOWN_FOR = timedelta(hours=24)
LEADERBOARD_SECONDS: Final = 15

logger = structlog.get_logger(__name__)

# The columns of the two forms; the text of an error is for operators, its class has public words.
_LISTED = (*(set(TokenSerializer.Meta.fields) - {"generation_error"}), "error_class")
_DETAILS = (
    "prompt_author_wallet",
    "minter_address",
    "mint_timestamp",
    "revealed_at",
    "adopted_uri",
)
# Counting an author's 100,000 tokens takes ten times as long as reading a page of them, and
# counting everybody's a million takes half a second: then others do not wait for it. What is
# counted in a moment is counted again after the next one.
_WORTH: Final = 50
_totals: ShortMemory[int] = ShortMemory(seconds=2, grace=2, worth=_WORTH)
_leaders: ShortMemory[list[Any]] = ShortMemory(seconds=LEADERBOARD_SECONDS, grace=60, worth=_WORTH)


def detailed_tokens(tokens: TokenQuerySet) -> list[dict[str, Any]]:
    """Return tokens with who made them and where they stand on chain."""
    return [_detailed(row) for row in tokens.values(*_LISTED, *_DETAILS)]


def _detailed(row: dict[str, Any]) -> dict[str, Any]:
    uri = token_uri(metadata_cid=row["metadata_cid"], adopted_uri=row.pop("adopted_uri"))
    return row | {
        "generation_error": public_error(row["status"], row.pop("error_class")),
        "name": token_name(row["token_id"]),
        "author_address": row.pop("prompt_author_wallet"),
        "token_uri": uri,
    }


def author_total(wallet: str) -> int:
    """Return how many tokens an author's wallet has, up to four seconds ago."""
    return _totals.get(wallet, lambda: Token.objects.filter(prompt_author_wallet=wallet).count())


def leaderboard() -> list[Any]:
    """Return the authors with most tokens.

    At most fifteen seconds old, more only while they are counted; less where that takes a moment.
    """
    return _leaders.get("all", count_leaders)


def count_leaders_ahead() -> None:
    """Count the leaders before anybody asks; for a thread of a web process that begins."""
    began = time.monotonic()
    try:
        leaderboard()
        logger.debug("leaders_counted_ahead", seconds=round(time.monotonic() - began, 3))
    except (DatabaseError, InterfaceError) as error:
        # Whoever asks first counts, and says what is wrong; the process may be ending, too.
        logger.debug("leaders_not_counted_ahead", error=type(error).__name__)
    finally:
        connection.close()  # back to the pool


def count_leaders() -> list[Any]:
    """Return the authors with most tokens: wallet and number, most first, then by address."""
    rows = (
        Token.objects.order_by()
        .values(author_address=models.F("prompt_author_wallet"))
        .annotate(total_tokens=models.Count("pk"))
        # The database's own collation would sort differently from one machine to the next.
        .order_by("-total_tokens", Collate("prompt_author_wallet", "C"))
    )
    return list(rows[:LEADERBOARD_SIZE])


def newest_reveals(limit: int, before: int | None = None) -> TokenQuerySet:
    """Return revealed tokens, newest first, older than the token `before` if that is given."""
    found = Token.objects.filter(status=TokenStatus.REVEALED)
    if before is not None:
        found = found.filter(token_id__lt=before)
    return found.order_by("-token_id").without_texts()[:limit]


def under_way(limit: int) -> TokenQuerySet:
    """Return tokens that are not revealed yet, newest mint first.

    Those that failed within the last day are among them: people who wait should see it.
    """
    since = timezone.now() - FAILED_SHOWN_FOR
    recently_failed = models.Q(status=TokenStatus.FAILED, mint_timestamp__gte=since)
    found = Token.objects.filter(models.Q(status__in=ACTIVE) | recently_failed)
    return found.order_by("-mint_timestamp", "-token_id").without_texts()[:limit]


# The frontend polls for five minutes after a mint; the chain's clock may differ from ours.
COLLECTED_SHOWN_FOR = timedelta(minutes=15)
# Of so many tokens an author's total is counted with the page, and is exact.
FEW: Final = 100

_UTC: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
_COLUMNS: Final = f"""
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
    SELECT {_COLUMNS} FROM tokens_s0 t WHERE t.token_id = ANY (ARRAY(
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
    SELECT {_COLUMNS} FROM tokens_s0 t WHERE t.token_id = ANY (ARRAY(SELECT token_id FROM chosen))
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

"""What people read of tokens: the API's pages, the leaderboard, the gallery.

Each answer loads the columns it shows; the prompt, the metadata and the error log of a token
are longer than all the rest of it.
"""

from datetime import timedelta
from typing import Any, Final

from django.db import models
from django.db.models.functions import Collate
from django.utils import timezone

from glisk.short_memory import ShortMemory
from tokens.models import Token
from tokens.querysets import TokenQuerySet
from tokens.states import ACTIVE, TokenStatus
from tokens.wire import LISTED_COLUMNS, listed_rows

LEADERBOARD_SIZE: Final = 50
FAILED_SHOWN_FOR = timedelta(hours=24)
# The frontend polls for five minutes after a mint; the chain's clock may differ from ours.
COLLECTED_SHOWN_FOR = timedelta(minutes=15)
_TOTAL_SECONDS: Final = 2.0
LEADERBOARD_SECONDS: Final = 15

# Plain SQL: every collector who waits asks for such a page every two seconds, and building the
# ORM's queries would take longer than all the rest of the answer.
_AUTHOR_PAGE: Final = f"""
    SELECT {LISTED_COLUMNS} FROM tokens_s0 t
    WHERE prompt_author_wallet = %s ORDER BY token_id DESC LIMIT %s OFFSET %s
"""  # noqa: S608 - a constant
# Cut before the clock: else a wallet that minted much, long ago, is read from end to end.
_PROGRESS_PAGE: Final = f"""
    WITH collected AS (
        SELECT token_id, mint_timestamp FROM tokens_s0
        WHERE minter_address = %s ORDER BY token_id DESC LIMIT %s
    ), authored AS (
        SELECT token_id FROM tokens_s0
        WHERE prompt_author_wallet = %s ORDER BY token_id DESC LIMIT %s
    ), chosen AS (
        SELECT token_id, min(place) AS place FROM (
            SELECT token_id, 1 AS place FROM collected WHERE mint_timestamp >= %s
            UNION ALL SELECT token_id, 2 FROM authored
        ) both_kinds
        GROUP BY token_id ORDER BY place, token_id DESC LIMIT %s
    )
    SELECT {LISTED_COLUMNS} FROM chosen JOIN tokens_s0 t USING (token_id) ORDER BY token_id DESC
"""  # noqa: S608 - a constant

_HEAVY = ("prompt", "metadata_text", "error_log")
# Counting an author's 100,000 tokens takes ten times as long as reading a page of them.
_totals: ShortMemory[int] = ShortMemory(seconds=_TOTAL_SECONDS)
_leaders: ShortMemory[list[Any]] = ShortMemory(seconds=LEADERBOARD_SECONDS)


def author_page(wallet: str, *, offset: int, limit: int) -> list[dict[str, Any]]:
    """Return a page of an author's tokens in the listed form, newest first (wallet: EIP-55)."""
    return listed_rows(_AUTHOR_PAGE, [wallet, limit, offset])


def author_total(wallet: str) -> int:
    """Return how many tokens an author's wallet has; at most two seconds old."""
    return _totals.get(wallet, Token.objects.by_author_wallet(wallet).order_by().count)


def progress_page(wallet: str, *, limit: int) -> list[dict[str, Any]]:
    """Return what a wallet's owner waits for: what they minted just now, and their author page.

    Newest first; when there are more than `limit`, the oldest of the author page are left out.
    """
    since = timezone.now() - COLLECTED_SHOWN_FOR
    return listed_rows(_PROGRESS_PAGE, [wallet, limit, wallet, limit, since, limit])


def leaderboard() -> list[Any]:
    """Return the authors with most tokens; at most fifteen seconds old."""
    return _leaders.get("all", count_leaders)


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
    return found.order_by("-token_id").defer(*_HEAVY)[:limit]


def under_way(limit: int) -> TokenQuerySet:
    """Return tokens that are not revealed yet, newest mint first.

    Those that failed within the last day are among them: people who wait should see it.
    """
    since = timezone.now() - FAILED_SHOWN_FOR
    recently_failed = models.Q(status=TokenStatus.FAILED, mint_timestamp__gte=since)
    found = Token.objects.filter(models.Q(status__in=ACTIVE) | recently_failed)
    return found.order_by("-mint_timestamp", "-token_id").defer(*_HEAVY)[:limit]

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
from tokens.wire import listed_tokens

LEADERBOARD_SIZE: Final = 50
FAILED_SHOWN_FOR = timedelta(hours=24)
# The frontend polls for five minutes after a mint; the chain's clock may differ from ours.
COLLECTED_SHOWN_FOR = timedelta(minutes=15)
_TOTAL_SECONDS: Final = 2.0
LEADERBOARD_SECONDS: Final = 15

_HEAVY = ("prompt", "metadata_text", "error_log")
# Counting an author's 100,000 tokens takes ten times as long as reading a page of them.
_totals: ShortMemory[int] = ShortMemory(seconds=_TOTAL_SECONDS)
_leaders: ShortMemory[list[Any]] = ShortMemory(seconds=LEADERBOARD_SECONDS)


def author_page(wallet: str, *, offset: int, limit: int) -> list[dict[str, Any]]:
    """Return a page of an author's tokens in the listed form, newest first (wallet: EIP-55)."""
    return listed_tokens(Token.objects.by_author_wallet(wallet)[offset : offset + limit])


def author_total(wallet: str) -> int:
    """Return how many tokens an author's wallet has; at most two seconds old."""
    return _totals.get(wallet, Token.objects.by_author_wallet(wallet).order_by().count)


def progress_page(wallet: str, *, limit: int) -> list[dict[str, Any]]:
    """Return what a wallet's owner waits for: what they minted just now, and their author page.

    Newest first; when there are more than `limit`, the oldest of the author page are left out.
    """
    since = timezone.now() - COLLECTED_SHOWN_FOR
    newest = Token.objects.filter(minter_address=wallet).order_by("-token_id")
    # Cut before the clock: else a wallet that minted much, long ago, is read from end to end.
    collected = newest.filter(pk__in=newest.values("pk")[:limit], mint_timestamp__gte=since)
    found = {token["token_id"]: token for token in listed_tokens(collected)}
    for token in author_page(wallet, offset=0, limit=limit):
        if len(found) == limit:
            break
        found.setdefault(token["token_id"], token)
    return [found[token_id] for token_id in sorted(found, reverse=True)]


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

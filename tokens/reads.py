"""What people read of tokens: the API's pages, the leaderboard, the gallery.

Each answer loads the columns it shows; the prompt, the metadata and the error log of a token
are longer than all the rest of it.
"""

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models.functions import Collate
from django.utils import timezone

from tokens.models import Token
from tokens.querysets import TokenQuerySet
from tokens.states import ACTIVE, TokenStatus

LEADERBOARD_SIZE = 50
FAILED_SHOWN_FOR = timedelta(hours=24)

_HEAVY = ("prompt", "metadata_text", "error_log")


def author_tokens(wallet: str) -> TokenQuerySet:
    """Return the tokens of an author's wallet (EIP-55), newest first."""
    return Token.objects.by_author_wallet(wallet).defer(*_HEAVY)


def leaderboard() -> list[Any]:
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

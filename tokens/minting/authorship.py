"""Hand waiting tokens to an author who registers after the mint.

A token whose on-chain author was unknown belongs to the default author and waits with the default
prompt. As long as it is still `detected`, it takes author and prompt when they register.
"""

from collections.abc import Collection, Sequence
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from authors.models import Author
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.transitions.chain import give_waiting_tokens

logger = structlog.get_logger(__name__)


def hand_over_waiting_tokens(author: Author) -> int:
    """Give an author the waiting tokens of their wallet; return how many."""
    default = settings.GLISK_DEFAULT_AUTHOR_WALLET.lower()
    if not author.has_prompt or author.wallet_address.lower() == default:
        return 0
    with transaction.atomic():
        with connection.cursor() as cursor:
            # Registrations that read the authors before this one was there end first, and
            # later ones see it (tokens.minting.registration): no token falls in between.
            cursor.execute("LOCK TABLE mint_events IN SHARE MODE")
        count = give_waiting_tokens(author)
    if count:
        logger.info("waiting_tokens_handed_over", author=author.wallet_address, tokens=count)
    return count


def on_authors_written(sender: type[Author], authors: Sequence[Author], **kwargs: Any) -> None:
    """Hand over after many were written at once; only those that are waited for cost anything."""
    wallets = [author.wallet_address for author in authors]
    waiting = Token.objects.filter(prompt_author_wallet__in=wallets, status=TokenStatus.DETECTED)
    waited_for = set(waiting.values_list("prompt_author_wallet", flat=True))
    for author in authors:
        if author.wallet_address in waited_for:
            hand_over_waiting_tokens(author)


def on_author_saved(
    sender: type[Author],
    instance: Author,
    update_fields: Collection[str] | None = None,
    **kwargs: Any,
) -> None:
    if update_fields is None or "prompt_text" in update_fields:  # not for a linked handle
        hand_over_waiting_tokens(instance)

"""Begin anew with adopted tokens whose reveal by others a reorg took back."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from glisk.clients.mint_reader import MintReader
from tokens.models import Token
from tokens.recovery.progress import load_progress
from tokens.recovery.withdrawal import withdraw
from tokens.states import TokenStatus


def begin_anew(reader: MintReader, token_ids: Sequence[int]) -> set[int]:
    """Withdraw those that the chain surely calls unrevealed; the next look makes them anew.

    Returns which those are. Raises the errors of the reader.
    """
    if not token_ids:
        return set()
    gone = _surely_unrevealed(reader, token_ids)
    with transaction.atomic():
        tokens = Token.objects.select_for_update().filter(
            token_id__in=gone, status=TokenStatus.REVEALED, adopted_uri__isnull=False
        )
        withdraw(
            list(tokens), "the reveal that it was adopted for is not part of the chain any more"
        )
    return set(gone)


def _surely_unrevealed(reader: MintReader, token_ids: Sequence[int]) -> list[int]:
    """Ask once more, by the number of the newest block that was ever seen.

    A node that lags, which the head shows or which has no such block, proves nothing.
    """
    head, seen = reader.survey().head.number, load_progress().head
    if seen is not None and head < seen:
        return []
    facts = reader.tokens(token_ids, block=head)
    return [token_id for token_id in token_ids if not facts[token_id].revealed]

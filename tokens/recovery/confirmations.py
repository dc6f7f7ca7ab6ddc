"""Mints whose block a reorg may still take away: what every look at the chain asks about again.

A mint is settled once its block is deep enough and we have read its log ourselves. What comes
from a webhook was only told to us until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from glisk.clients.chain import Survey
from tokens.models import MintEvent
from tokens.models.mint import MintSource

# Mints are watched for this many blocks beyond MINT_CONFIRMATIONS. On Base only reorgs of one
# block have been seen; the reveal's gate checks the hash once more, whatever the depth.
WATCHED_BLOCKS = 12
_AT_ONCE = 1000
# A block above the head of our node: after so long, the node is not late, the block is not real.
_UNHEARD_OF = timedelta(minutes=2)
SPAN_BLOCKS = 10  # what Alchemy's free plan gives at once

LogKey = tuple[str, int, str]  # transaction, log index, block hash


def settled_depth() -> int:
    return int(settings.MINT_CONFIRMATIONS) + WATCHED_BLOCKS


def unsettled_mints() -> list[MintEvent]:
    """Return the mints to look at, oldest block first."""
    found = MintEvent.objects.filter(settled_at=None).order_by("block_number", "id")
    return list(found[:_AT_ONCE])


def judge(
    survey: Survey, mints: Iterable[MintEvent]
) -> tuple[list[MintEvent], list[MintEvent], list[MintEvent]]:
    """Return the mints that are settled, that only need their logs read, and that are in doubt.

    A block that the node does not know proves nothing: it lags.
    """
    settled: list[MintEvent] = []
    ripe: list[MintEvent] = []
    doubtful: list[MintEvent] = []
    for mint in mints:
        block = survey.blocks.get(mint.block_number)
        if block is None:
            above = mint.block_number > survey.head.number
            if above and mint.created_at < timezone.now() - _UNHEARD_OF:
                doubtful.append(mint)
        elif block.block_hash != mint.block_hash:
            doubtful.append(mint)
        elif survey.head.number - mint.block_number + 1 >= settled_depth():
            (settled if mint.source == MintSource.BACKFILL else ripe).append(mint)
    return settled, ripe, doubtful


def spans(mints: Iterable[MintEvent], *, blocks: int = SPAN_BLOCKS) -> list[tuple[int, int]]:
    """Return the mints' blocks as few ranges of at most so many blocks."""
    found: list[tuple[int, int]] = []
    for number in sorted({mint.block_number for mint in mints}):
        if found and number - found[-1][0] < blocks:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def mark_settled(mints: Iterable[MintEvent]) -> None:
    ids = [mint.pk for mint in mints]
    if ids:
        MintEvent.objects.filter(pk__in=ids).update(settled_at=timezone.now())


def settle_by_key(keys: Sequence[LogKey]) -> None:
    """Settle stored mints by transaction, log index and block hash."""
    if not keys:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mint_events m SET settled_at = clock_timestamp() "
            "FROM unnest(%s::text[], %s::integer[], %s::text[]) AS v(tx_hash, log_index, block) "
            "WHERE m.tx_hash = v.tx_hash AND m.log_index = v.log_index "
            "AND m.block_hash = v.block AND m.settled_at IS NULL",
            [list(column) for column in zip(*keys, strict=True)],
        )


def unsettle_refused() -> None:
    """Look again at mints whose tokens the reveal's gate turned away.

    The gate found their block outside the chain, or the token unknown, at whatever depth.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mint_events SET settled_at = NULL WHERE settled_at IS NOT NULL AND id IN "
            "(SELECT mint_event_id FROM tokens_s0 WHERE status = 'ready' "
            "AND error_class IN ('reorged', 'not_minted'))"
        )

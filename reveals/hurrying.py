"""Have a transaction that is under way replaced now, instead of when it has taken too long.

Nobody but the drain signs: a request marks the open batch and wakes it, and it replaces by its
own rules (reveals.sending): a review first, the same nonce, fees under the ceiling.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from glisk.engine.notify import notify
from reveals.fees import configured_ceiling_wei, least_bump
from reveals.models import BatchStatus, RevealBatch, RevealTransaction
from tokens.transitions import REVEAL_CHANNEL

logger = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0

REQUESTED = "A replacement with higher fees is requested: the worker signs it now."


@dataclass(frozen=True)
class SpeedUp:
    """One batch's part: `message` says what was done, or why nothing was.

    `most_wei`: what the dearest replacement may cost, without Base's L1 data fee.
    """

    batch_id: int
    done: bool
    message: str
    most_wei: int = 0


def request_speed_up(
    *, batch_ids: Iterable[int], actor: str, dry_run: bool = False
) -> list[SpeedUp]:
    """Ask for a replacement of each batch's newest transaction; return what came of each."""
    wanted = sorted(set(batch_ids))
    return _look(wanted) if dry_run else [_request(batch_id, actor) for batch_id in wanted]


def _look(batch_ids: Sequence[int]) -> list[SpeedUp]:
    """Return what would come of each; two queries."""
    batches = RevealBatch.objects.in_bulk(batch_ids)
    newest = {row.batch_id: row for row in _newest_of(batch_ids)}
    return [
        _answer(batch_id, batches.get(batch_id), newest.get(batch_id)) for batch_id in batch_ids
    ]


def _request(batch_id: int, actor: str) -> SpeedUp:
    with transaction.atomic():
        batch = RevealBatch.objects.select_for_update().filter(pk=batch_id).first()
        answer = _answer(batch_id, batch, _newest_of([batch_id]).first())
        if batch is not None and answer.done:
            RevealBatch.objects.filter(pk=batch_id).update(
                speed_up_at=timezone.now(), speed_up_by=actor
            )
            notify(REVEAL_CHANNEL)
            logger.info("speed_up_requested", batch_id=batch_id, nonce=batch.nonce, actor=actor)
    return answer


def _newest_of(batch_ids: Sequence[int]) -> QuerySet[RevealTransaction]:
    rows = RevealTransaction.objects.filter(batch__in=batch_ids).order_by("batch_id", "-pk")
    return rows.distinct("batch_id").defer("raw_transaction", "token_ids", "metadata_uris")


def _answer(batch_id: int, batch: RevealBatch | None, newest: RevealTransaction | None) -> SpeedUp:
    if batch is None:
        return SpeedUp(batch_id, False, f"There is no batch {batch_id}.")
    if refusal := _refusal(batch, newest):
        return SpeedUp(batch_id, False, refusal)
    assert newest is not None
    return SpeedUp(batch_id, True, REQUESTED, newest.gas_limit * configured_ceiling_wei())


def _refusal(batch: RevealBatch, newest: RevealTransaction | None) -> str:
    if batch.status != BatchStatus.OPEN:
        return f"Nothing of it is under way: it is {batch.status}."
    if batch.speed_up_at is not None:
        return f"A replacement is requested already, by {batch.speed_up_by}."
    if newest is None or newest.broadcast_at is None:
        return "No node has taken its newest transaction yet: it goes out by itself."
    ceiling = configured_ceiling_wei()
    offered = int(newest.max_fee_per_gas_wei)
    if least_bump(offered) > ceiling:
        return (
            f"It offers {offered / 1e9:g} gwei already, and REVEAL_MAX_GAS_PRICE_GWEI "
            f"({ceiling / 1e9:g}) leaves no room for an eighth more."
        )
    return ""


def take_back(batch_id: int) -> None:
    """Forget a request: it was followed, or cannot be."""
    RevealBatch.objects.filter(pk=batch_id, speed_up_at__isnull=False).update(
        speed_up_at=None, speed_up_by=""
    )


class Hurries:
    """One drain's view of the requests, at most a second old."""

    def __init__(self) -> None:
        self._looked_at = -_LOOK_SECONDS
        self._wanted: frozenset[int] = frozenset()

    def wanted(self) -> frozenset[int]:
        """Return the open batches that an operator wants replaced."""
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            found = RevealBatch.objects.filter(status=BatchStatus.OPEN, speed_up_at__isnull=False)
            self._wanted = frozenset(found.values_list("pk", flat=True))
            self._looked_at = time.monotonic()
        return self._wanted

    def forget(self, batch_id: int) -> None:
        """Note that a request was followed, or cannot be."""
        take_back(batch_id)
        self._wanted -= {batch_id}

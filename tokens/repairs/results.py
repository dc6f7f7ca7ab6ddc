"""What came of a repair, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from glisk.admin.audit import said
from glisk.engine.broker import notify
from tokens.models import ImageGenerationJob, Token
from tokens.models.job import OPEN_JOB_STATUSES
from tokens.states import TokenStatus
from tokens.transitions import PIPELINE_CHANNEL, REVEAL_CHANNEL, UPLOAD_CHANNEL, status

_LOOKED_AT_ONCE = 500


@dataclass(frozen=True)
class RepairResult:
    """One token's part: `message` says what was done, or why it was skipped.

    `pays`: it leads to a new prediction, which the vendor charges.
    """

    token_id: int
    done: bool
    message: str
    pays: bool = False


Service = Callable[..., list[RepairResult]]


def service(
    *, needs_reason: bool = False, at_once: int = 1
) -> Callable[[Callable[..., Iterable[RepairResult]]], Service]:
    """Make a service of what is to be done with locked tokens.

    It takes `token_ids`, `actor`, `reason` and `dry_run`, which only says what would happen, and
    raises ValueError if a reason is needed and there is none.
    """

    def make(repair: Callable[..., Iterable[RepairResult]]) -> Service:
        @wraps(repair)
        def serve(
            *,
            token_ids: Iterable[int],
            actor: str,
            reason: str = "",
            dry_run: bool = False,
            **options: Any,
        ) -> list[RepairResult]:
            told = said(reason) if needs_reason else " ".join(reason.split())
            step = partial(repair, actor=actor, reason=told, dry_run=dry_run, **options)
            return repair_each(token_ids, step, at_once=at_once, lock=not dry_run)

        return serve

    return make


def repair_each(
    token_ids: Iterable[int],
    repair: Callable[[Sequence[Token]], Iterable[RepairResult]],
    *,
    at_once: int = 1,
    lock: bool = True,
) -> list[RepairResult]:
    """Call `repair` with locked tokens in a transaction of their own; return all results by id.

    One token at a time is the rule: a drain locks many in an order of its own, and so the two
    cannot wait for each other. `at_once`: more of them, for tokens that no drain touches.
    `lock`: False for a look that changes nothing, which takes them together.
    """
    wanted = sorted(set(token_ids))
    at_once = at_once if lock else _LOOKED_AT_ONCE
    results: list[RepairResult] = []
    for start in range(0, len(wanted), at_once):
        part = wanted[start : start + at_once]
        with transaction.atomic():
            found = Token.objects.filter(pk__in=part).select_related("author").order_by("pk")
            tokens = list(found.select_for_update(of=("self",)) if lock else found)
            results += repair(tokens)
        results += [
            RepairResult(token_id, False, f"There is no token {token_id} here.")
            for token_id in set(part).difference(token.pk for token in tokens)
        ]
    return sorted(results, key=lambda result: result.token_id)


def with_reason(what: str, reason: str) -> str:
    return f"{what}: {reason}" if reason else what


def note(token: Token, *, reason: str, actor: str, kind: str) -> None:
    """Write what happened to a token without a move into its timeline."""
    status.note([token], reason=reason, actor=actor, detail={"repair": kind})


def wake(*statuses: TokenStatus | str) -> None:
    """Wake the stages that go on with tokens in these states, with this transaction's commit."""
    if any(status != TokenStatus.READY for status in statuses):
        notify(PIPELINE_CHANNEL)
    if TokenStatus.UPLOADING in statuses:
        notify(UPLOAD_CHANNEL)
    if TokenStatus.READY in statuses:
        notify(REVEAL_CHANNEL)


def in_work(tokens: Iterable[Token]) -> set[int]:
    """Return those that a worker holds now, or whose image a vendor makes.

    The database's clock decides, as for workers.
    """
    making = ImageGenerationJob.objects.filter(token=OuterRef("pk"), status__in=OPEN_JOB_STATUSES)
    found = Token.objects.filter(
        Q(lease_expires_at__gt=Now())
        | Q(status__in=[TokenStatus.DETECTED, TokenStatus.GENERATING]) & Q(Exists(making)),
        pk__in=[token.pk for token in tokens],
    )
    return set(found.values_list("pk", flat=True))

"""A token's story: its moves, the calls that were paid for, its uploads, and what others add."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.utils import timezone

from glisk.admin.formatting import duration, instant
from glisk.clients.links import gateway_url
from tokens.admin.labels import JOB_LABELS, TOKEN_LABELS, UPLOAD_LABELS
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token, TokenTransition
from tokens.models.artefact import UploadStatus
from tokens.models.job import JobStatus
from tokens.states import TERMINAL, TokenStatus


@dataclass(frozen=True)
class Happening:
    """One entry: `title` in the colour `label`, who, and named facts; `url` of its page."""

    at: datetime
    title: str
    label: str = "default"
    is_move: bool = False
    actor: str = ""
    attempt: int = 0
    text: str = ""
    facts: Sequence[tuple[str, str]] = ()
    url: str = ""
    after: str = ""
    since: str = ""

    @property
    def moment(self) -> str:
        return instant(self.at)


Source = Callable[[Token], Iterable[Happening]]
_others: list[Source] = []


def register_timeline_source(source: Source) -> None:
    """Let another app tell what happened to a token; to be called while its admin loads."""
    if source not in _others:
        _others.append(source)


def timeline(token: Token, moves: Sequence[TokenTransition]) -> list[Happening]:
    """Return everything in the order of time; two queries, and those of other apps."""
    entries = [*_moves(token, moves), *_jobs(token), *_uploads(token)]
    for source in _others:
        entries += source(token)
    return sorted(entries, key=lambda entry: entry.at)


def _moves(token: Token, moves: Sequence[TokenTransition]) -> Iterable[Happening]:
    """Yield the moves with the time from each to the next; the last one's still runs."""
    befores: list[TokenTransition | None] = [None, *(earlier for earlier, _ in pairwise(moves))]
    for before, move in zip(befores, moves, strict=False):
        still = move is moves[-1] and token.status not in TERMINAL
        yield Happening(
            at=move.created_at,
            title=TokenStatus(move.to_status).label,
            label=TOKEN_LABELS[TokenStatus(move.to_status)],
            is_move=True,
            actor=move.actor,
            attempt=move.attempt,
            text=move.reason,
            facts=_facts(move.detail),
            after=_between(before.created_at, move.created_at) if before else "",
            since=_between(move.created_at, timezone.now()) if still else "",
        )


def _jobs(token: Token) -> Iterable[Happening]:
    for job in ImageGenerationJob.objects.filter(token=token.pk).defer("input", "prompt"):
        cost = "nothing" if job.cost_usd is None else f"{job.cost_usd.normalize():f} USD"
        yield Happening(
            at=job.created_at,
            title="Paid call" if job.status != JobStatus.REJECTED else "Refused call",
            label=JOB_LABELS.get(JobStatus(job.status), "default"),
            attempt=job.attempt_number,
            text=job.error,
            facts=_given(
                ("vendor id", job.external_id),
                ("cost", cost),
                ("model", job.model),
                ("outcome", JobStatus(job.status).label.lower()),
                ("took", _between(job.submitted_at, job.completed_at)),
            ),
        )


def _uploads(token: Token) -> Iterable[Happening]:
    for record in IPFSUploadRecord.objects.filter(token=token.pk):
        yield Happening(
            at=record.created_at,
            title=f"Upload of the {record.upload_type}",
            label=UPLOAD_LABELS.get(UploadStatus(record.status), "default"),
            attempt=record.attempt_number,
            text=record.error,
            facts=_given(
                ("outcome", record.status),
                ("CID", record.computed_cid),
                ("bytes", f"{record.size_bytes:,}"),
            ),
            url=gateway_url(record.computed_cid),
        )


def _between(begin: datetime | None, end: datetime | None) -> str:
    return "" if begin is None or end is None else duration((end - begin).total_seconds())


def _given(*facts: tuple[str, str | None]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in facts if value]


def _facts(detail: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a person wants to know of a move: refused prompts, and artefacts let go."""
    facts: dict[str, Any] = {
        name: detail[name] for name in ("original_prompt", "old_prompt") if name in detail
    }
    facts |= {f"old {name}": value for name, value in detail.get("old", {}).items()}
    return [(name.replace("_", " "), str(value)) for name, value in facts.items()]

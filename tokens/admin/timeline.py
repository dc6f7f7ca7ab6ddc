"""What happened to a token, newest first: its moves, paid calls, uploads, and what others add."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from django.urls import reverse
from django.utils import timezone

from glisk.admin.formatting import short
from glisk.clients.links import gateway_url
from tokens.admin.records import JOB_LABELS, UPLOAD_LABELS, between, usd
from tokens.models import Token, TokenTransition
from tokens.models.artefact import UploadStatus
from tokens.models.job import JobService, JobStatus
from tokens.states import TERMINAL, TokenStatus

TOKEN_LABELS = {
    TokenStatus.DETECTED: "default",
    TokenStatus.GENERATING: "info",
    TokenStatus.UPLOADING: "primary",
    TokenStatus.READY: "warning",
    TokenStatus.REVEALED: "success",
    TokenStatus.FAILED: "danger",
}
_JOB_TITLES: Final = {
    JobStatus.CREATED: "Image ordered",
    JobStatus.SUBMITTED: "Image in the making",
    JobStatus.SUCCEEDED: "Image made",
    JobStatus.CAPTURED: "Image made",
    JobStatus.ERRORED: "Image failed",
    JobStatus.FAILED: "Image failed",
    JobStatus.REJECTED: "Image refused",
}
_UPLOAD_TITLES: Final = {
    UploadStatus.FAILED: "Upload refused",
    UploadStatus.MISMATCH: "Other bytes stored",
}


@dataclass(frozen=True)
class Happening:
    """One entry: `title` in the colour `label`, who, and named facts; `url` of its page.

    `times` counts the equal errors in a row of which this is the newest; they began at `begun`.
    """

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
    times: int = 1
    begun: datetime | None = None

    @property
    def kind(self) -> tuple[str, str, str | datetime]:
        """What entries in a row have in common if they are one error, again and again."""
        return self.title, self.actor, self.text or self.at


# What other apps tell of what happened to a token; added while their admin loads.
TIMELINE_SOURCES: list[Callable[[Token], Iterable[Happening]]] = []


def timeline_of(token: Token) -> list[Happening]:
    """Return what happened, newest first; an error that came again and again is one entry.

    No query but those of the sources, if transitions, jobs and uploads were read with the token.
    """
    found = [*_moves(token), *_jobs(token), *_uploads(token)]
    for source in TIMELINE_SOURCES:
        found += source(token)
    newest_first = sorted(found, key=lambda each: each.at, reverse=True)
    entries = []
    for _, alike in groupby(newest_first, key=lambda each: each.kind):
        newest, *others = alike
        if others:
            newest = replace(newest, times=len(others) + 1, begun=others[-1].at)
        entries.append(newest)
    return entries


def is_worker(actor: str) -> bool:
    """Tell whether a worker did it, whose name holds machine and processes."""
    return actor.count(":") >= 2


def _moves(token: Token) -> Iterable[Happening]:
    """Yield the moves with the time from each to the next; the last one's still runs."""
    moves = list(token.transitions.all())
    befores: list[TokenTransition | None] = [None, *moves]
    for before, move in zip(befores, moves, strict=False):
        still = move is moves[-1] and token.status not in TERMINAL
        yield Happening(
            at=move.created_at,
            title=TokenStatus(move.to_status).label,
            label=TOKEN_LABELS[TokenStatus(move.to_status)],
            is_move=True,
            actor="" if is_worker(move.actor) else move.actor,
            attempt=move.attempt,
            text=move.reason,
            facts=_facts(move.detail),
            after=_after(before, move) if before else "",
            since=between(move.created_at, timezone.now()) if still else "",
        )


def _after(before: TokenTransition, move: TokenTransition) -> str:
    passed = between(before.created_at, move.created_at)
    return "" if passed == "0 s" else passed


def _jobs(token: Token) -> Iterable[Happening]:
    for job in token.generation_jobs.all():
        is_free = job.status == JobStatus.REJECTED
        yield Happening(
            at=job.created_at,
            title=_JOB_TITLES[JobStatus(job.status)],
            label=JOB_LABELS.get(JobStatus(job.status), "default"),
            attempt=job.attempt_number,
            text=job.error,
            facts=_given(
                ("cost", "nothing" if is_free else usd(job.cost_usd)),
                ("took", between(job.submitted_at, job.completed_at)),
                ("service", job.service if job.service == JobService.SELFHOSTED else ""),
                ("prediction", short(job.external_id) if job.external_id else ""),
            ),
            url=reverse("admin:tokens_imagegenerationjob_change", args=[job.pk]),
        )


def _uploads(token: Token) -> Iterable[Happening]:
    for record in token.upload_records.all():
        is_pinned = record.status == UploadStatus.SUCCEEDED
        kind = "Image" if record.upload_type == "image" else "Metadata"
        yield Happening(
            at=record.created_at,
            title=_UPLOAD_TITLES.get(UploadStatus(record.status), f"{kind} pinned"),
            label=UPLOAD_LABELS.get(UploadStatus(record.status), "default"),
            attempt=record.attempt_number,
            text=record.error,
            facts=_given(
                ("file", "" if is_pinned else kind.lower()),
                ("CID", short(record.computed_cid) if is_pinned else ""),
                ("stored as", "" if is_pinned else record.returned_cid),
            ),
            url=gateway_url(record.computed_cid)
            if is_pinned
            else reverse("admin:tokens_ipfsuploadrecord_change", args=[record.pk]),
        )


def _given(*facts: tuple[str, str | None]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in facts if value]


def _facts(detail: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a person wants to know of a move: refused prompts, and artefacts let go."""
    facts: dict[str, Any] = {
        name: detail[name] for name in ("original_prompt", "old_prompt") if name in detail
    }
    facts |= {f"old {name}": value for name, value in detail.get("old", {}).items()}
    return [(name.replace("_", " "), str(value)) for name, value in facts.items()]

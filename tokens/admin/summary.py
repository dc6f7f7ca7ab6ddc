"""The top of a token's admin page: picture, progress, links, timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from glisk.admin.formatting import duration, shortened
from glisk.clients.links import explorer_url, gateway_url
from tokens.admin.pictures import picture_url
from tokens.admin.records import JOB_LABELS, UPLOAD_LABELS, between
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token, TokenTransition
from tokens.models.artefact import UploadStatus
from tokens.models.job import JobStatus
from tokens.states import TERMINAL, TokenStatus

TOKEN_LABELS = {
    TokenStatus.DETECTED: "default",
    TokenStatus.GENERATING: "info",
    TokenStatus.UPLOADING: "primary",
    TokenStatus.READY: "warning",
    TokenStatus.REVEALED: "success",
    TokenStatus.FAILED: "danger",
}
_WAY = [status for status in TokenStatus if status is not TokenStatus.FAILED]


# What keeps a token from going on: sources of console.troubles.Trouble, which stands above.
WAITS: list[Callable[[Token], Iterable[Any]]] = []


def token_summary(token: Token) -> dict[str, Any]:
    """Return what the template shows; three queries, and those of others."""
    image = getattr(token, "image", None)
    moves = list(token.transitions.order_by("id"))
    entries = [*_moves(token, moves), *_jobs(token), *_uploads(token)]
    for source in TIMELINE_SOURCES:
        entries += source(token)
    reached = {token.status, TokenStatus.DETECTED, *(move.to_status for move in moves)}
    advice = advice_for_waiting if token.status == TokenStatus.READY else advice_for_class
    return {
        "token": token,
        "image": image,
        "picture_url": picture_url(token.pk, image.sha256) if image else "",
        "gateway_picture_url": gateway_url(token.image_cid),
        "label": TOKEN_LABELS[TokenStatus(token.status)],
        "steps": [
            {"name": status.label, "reached": status in reached, "now": status == token.status}
            for status in _WAY
        ],
        "links": [link for link in _links(token) if link["url"]],
        "timeline": sorted(entries, key=lambda entry: entry.at),
        "again": _again(token),
        "waits": token.status == TokenStatus.READY,
        "advice": advice(token.error_class),
        "waits_for": [wait for source in WAITS for wait in source(token)],
    }


def _again(token: Token) -> str:
    """Return when a failed token is taken up again without a person, or an empty text."""
    if token.status != TokenStatus.FAILED or token.next_attempt_at is None:
        return ""
    left = (token.next_attempt_at - timezone.now()).total_seconds()
    if left <= 0:
        return "It is tried again by itself as soon as its stage works and the daily cap allows it."
    at = f"{token.next_attempt_at:%d %b %H:%M} UTC"
    return f"It is tried again by itself at {at}, in {duration(left)}."


def _links(token: Token) -> list[dict[str, str]]:
    author = token.prompt_author_wallet
    batches = reverse("admin:reveals_revealbatch_changelist")
    return [
        {"label": "Token on the explorer", "url": token.explorer_url},
        {"label": "Reveal transaction", "url": explorer_url("tx", token.reveal_tx_hash)},
        {"label": "Image on IPFS", "url": gateway_url(token.image_cid)},
        {"label": "Metadata on IPFS", "url": gateway_url(token.metadata_cid)},
        {"label": f"Author {shortened(author)}", "url": explorer_url("address", author)},
        {"label": "Contract", "url": explorer_url("address", settings.GLISK_NFT_CONTRACT_ADDRESS)},
        {"label": "Reveal batches", "url": f"{batches}?items__token__token_id={token.pk}"},
    ]


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


# What other apps tell of what happened to a token; added while their admin loads.
TIMELINE_SOURCES: list[Callable[[Token], Iterable[Happening]]] = []


def _moves(token: Token, moves: Sequence[TokenTransition]) -> Iterable[Happening]:
    """Yield the moves with the time from each to the next; the last one's still runs."""
    befores: list[TokenTransition | None] = [None, *moves]
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
            after=between(before.created_at, move.created_at) if before else "",
            since=between(move.created_at, timezone.now()) if still else "",
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
                ("took", between(job.submitted_at, job.completed_at)),
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


def _given(*facts: tuple[str, str | None]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in facts if value]


def _facts(detail: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a person wants to know of a move: refused prompts, and artefacts let go."""
    facts: dict[str, Any] = {
        name: detail[name] for name in ("original_prompt", "old_prompt") if name in detail
    }
    facts |= {f"old {name}": value for name, value in detail.get("old", {}).items()}
    return [(name.replace("_", " "), str(value)) for name, value in facts.items()]


# What the same classes mean while a ready token waits for its reveal: nothing failed.
_AT_THE_GATE: Final[dict[str, str]] = {
    "artefact": "Open its files at the gateway (links on its page). Once the right bytes are there "
    "it goes by itself, within two minutes; a second gateway in PINATA_GATEWAY helps at once.",
    "transient": "Nothing, if gateway and node come back: it goes by itself, within two minutes.",
}

ADVICE: Final[dict[str, str]] = {
    "content_policy": (
        "A mint keeps the prompt it was made with, so only another FALLBACK_CENSORED_PROMPT helps: "
        "set it, restart the workers, then retry. Later mints need a new prompt of the author."
    ),
    "validation": "Correct the author's prompt (1 to 1,000 characters), then retry.",
    "transient": "The vendor failed it three times. It is tried again by itself, later and later: "
    "its page says when. After that, or to hurry it, retry it.",
    "artefact": "What came was no image, three times: retry, or change the prompt.",
    "no_image": "The model ended well without an image: look at the prediction and at "
    "REPLICATE_MODEL_VERSION, then retry.",
    "cid_mismatch": "Pinata stored other bytes. Compare the pinned file, then retry.",
    "author_differs": "Recheck it; if it stays, compare the contract with the mint.",
    "already_revealed": "It cannot be changed. Find out who else holds KEEPER_ROLE.",
    "would_revert": "The reason is the contract's. Recheck it, then retry.",
    "stalled": "It killed its worker again and again: read the workers' logs, then retry.",
    "storage": "The image's bytes are gone: regenerate it.",
    "operator": "Somebody gave it up; the reason stands in the timeline. A retry lets it go on.",
    "unexpected": "A fault of this program: the worker's log has the traceback. Then retry.",
    "unconfirmed": "Nothing to do: its mint waits for confirmations.",
    "not_minted": "The node lags or a reorg took the mint: compare it with an explorer.",
    "reorged": "The node lags or a reorg took the mint: compare it with an explorer.",
}


def advice_for_class(error_class: str) -> str:
    """Return what to do about a token's error class, or an empty text."""
    return ADVICE.get(error_class, "")


def advice_for_waiting(error_class: str) -> str:
    """Return what to do about a token that the gate turned away, and that is tried again."""
    return _AT_THE_GATE.get(error_class, "") or advice_for_class(error_class)

"""Make a new image for a token that is not revealed; it is paid for, and the old one is let go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import structlog

from glisk.admin.audit import said
from tokens.models import ImageGenerationJob, Token, TokenImage
from tokens.models.job import JobStatus
from tokens.pipeline import jobs
from tokens.registry import perhaps_revealed
from tokens.repairs.results import (
    RepairResult,
    in_work,
    repair_each,
    wake,
    with_reason,
)
from tokens.repairs.retry import NO_PROMPT, usable_prompt
from tokens.states import Repair, TokenStatus
from tokens.transitions.status import Move, move_tokens

logger = structlog.get_logger(__name__)

# The vendor has answered: nothing is unknown any more.
_DECIDED = (JobStatus.SUCCEEDED, JobStatus.ERRORED)

DONE = "A new image is generated and paid for; the old artefacts stand in the timeline."


def regenerate_tokens(
    *,
    token_ids: Iterable[int],
    actor: str,
    reason: str,
    dry_run: bool = False,
) -> list[RepairResult]:
    """Give up the images of tokens and have new ones made, by the frozen prompt.

    Skipped are revealed tokens, those in an open reveal transaction, and those of which an
    earlier call's outcome is unknown: nothing is paid twice. Raises ValueError without a reason.
    """
    step = partial(_regenerate, actor=actor, reason=said(reason), dry_run=dry_run)
    return repair_each(token_ids, step, lock=not dry_run)


def _regenerate(
    tokens: Sequence[Token], *, actor: str, reason: str, dry_run: bool
) -> Iterator[RepairResult]:
    open_jobs = jobs.open_jobs(token.pk for token in tokens)
    # After the locks: a reveal that had them first has committed its batch by now.
    revealing = perhaps_revealed(token.pk for token in tokens)
    working = in_work(tokens)
    for token in tokens:
        job = open_jobs.get(token.pk)
        refusal = _refusal(
            token, job, is_revealing=token.pk in revealing, is_in_work=token.pk in working
        )
        if not refusal and not dry_run:
            _begin_anew(token, job, actor=actor, reason=reason)
        yield RepairResult(token.pk, not refusal, refusal or DONE, pays=not refusal)


def _refusal(
    token: Token, job: ImageGenerationJob | None, *, is_revealing: bool, is_in_work: bool
) -> str:
    if token.status == TokenStatus.REVEALED:
        return "It is revealed, and that is for ever."
    if token.status in (TokenStatus.DETECTED, TokenStatus.GENERATING):
        return "Its image is being made already."
    if is_revealing:
        return (
            "A transaction of ours reveals it, or may yet do so after a reorg: try again when that "
            "is settled, in some minutes."
        )
    if is_in_work:
        return "A worker is at it right now: try again in a moment."
    if job is not None and job.status not in _DECIDED:
        return (
            f"What became of call {job.pk} ({job.external_id or 'no answer yet'}) is not known, "
            "and it may be paid for: retry the token, which finds out, and regenerate it then."
        )
    return "" if usable_prompt(token) else NO_PROMPT


def _begin_anew(token: Token, job: ImageGenerationJob | None, *, actor: str, reason: str) -> None:
    detail = {"repair": Repair.REGENERATE.value, "old": _artefacts(token)}
    if job is not None:
        jobs.close_jobs(
            [job.pk],
            status=JobStatus.FAILED,
            error_class="regenerated",
            error="Its token was regenerated; the outcome is not used.",
        )
    prompt = usable_prompt(token) or ""
    if prompt != token.prompt:
        detail["old_prompt"] = token.prompt
    TokenImage.objects.filter(pk=token.pk).delete()
    move_tokens(
        [
            Move(
                token_id=token.pk,
                reason=with_reason("regenerated", reason),
                fields={
                    "prompt": prompt,
                    "image_url": None,
                    "image_cid": None,
                    "metadata_text": None,
                    "metadata_cid": None,
                    "generation_attempts": 0,
                    "automatic_retries": 0,
                    "fallback_used": False,
                    "generation_error": None,
                    "error_class": "",
                },
                detail=detail,
            )
        ],
        source=TokenStatus(token.status),
        target=TokenStatus.GENERATING,
        actor=actor,
        repair=Repair.REGENERATE,
    )
    wake(TokenStatus.GENERATING)
    logger.info("token_regenerated", token_id=token.pk, actor=actor, reason=reason)


def _artefacts(token: Token) -> dict[str, Any]:
    """Return what is let go, for the timeline: the files' names, and what they cost."""
    image = TokenImage.objects.filter(pk=token.pk).defer("data").first()
    paid = ImageGenerationJob.objects.filter(token=token, external_id__isnull=False)
    job = paid.order_by("-pk").first()
    facts = {
        "image_cid": token.image_cid,
        "metadata_cid": token.metadata_cid,
        "image_sha256": image.sha256 if image else None,
        "image_type": image.mime_type if image else None,
        "prediction": job.external_id if job else None,
        "job_id": job.pk if job else None,
        "model": job.model if job else None,
        "cost_usd": str(job.cost_usd) if job and job.cost_usd is not None else None,
        "fallback_used": token.fallback_used or None,
        "error": token.generation_error,
    }
    return {name: value for name, value in facts.items() if value is not None}

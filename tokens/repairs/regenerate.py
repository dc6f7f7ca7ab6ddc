"""Make a new image for a token that is not revealed; it is paid for, and the old one is let go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tokens.models import ImageGenerationJob, Token, TokenImage
from tokens.models.job import JobStatus
from tokens.pipeline import jobs
from tokens.registry import perhaps_revealed
from tokens.repairs.results import (
    RepairResult,
    in_work,
    service,
    wake,
    with_reason,
)
from tokens.repairs.retry import NO_PROMPT, usable_prompt
from tokens.states import REPAIRS, Repair, TokenStatus
from tokens.transitions.status import Move, move_tokens

# The vendor has answered: nothing is unknown any more.
_DECIDED = (JobStatus.SUCCEEDED, JobStatus.ERRORED)

DONE = "A new image is generated and paid for; the old artefacts stand in the timeline."


@service(needs_reason=True)
def regenerate_tokens(
    tokens: Sequence[Token], *, actor: str, reason: str, dry_run: bool
) -> Iterator[RepairResult]:
    """Give up the images of tokens and have new ones made, by the frozen prompt.

    Skipped are revealed tokens, those in an open reveal transaction, and those of which an
    earlier call's outcome is unknown: nothing is paid twice.
    """
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
    prompt = usable_prompt(token)
    if prompt != token.prompt:
        detail["old_prompt"] = token.prompt
    TokenImage.objects.filter(pk=token.pk).delete()
    nothing = ("image_url", "image_cid", "metadata_text", "metadata_cid", "generation_error")
    columns = {
        **dict.fromkeys(nothing),
        "prompt": prompt,
        "generation_attempts": 0,
        "automatic_retries": 0,
        "fallback_used": False,
        "error_class": "",
    }
    move_tokens(
        [Move(token.pk, reason=with_reason("regenerated", reason), fields=columns, detail=detail)],
        source=TokenStatus(token.status),
        target=TokenStatus.GENERATING,
        actor=actor,
        allowed=REPAIRS[Repair.REGENERATE],
    )
    wake(TokenStatus.GENERATING)


def _artefacts(token: Token) -> dict[str, Any]:
    """Return what is let go, for the timeline: the files' names, and what they cost."""
    facts: dict[str, Any] = {
        "image_cid": token.image_cid,
        "metadata_cid": token.metadata_cid,
        "fallback_used": token.fallback_used or None,
        "error": token.generation_error,
    }
    if image := TokenImage.objects.filter(pk=token.pk).defer("data").first():
        facts |= {"image_sha256": image.sha256, "image_type": image.mime_type}
    paid = ImageGenerationJob.objects.filter(token=token, external_id__isnull=False)
    if job := paid.order_by("-pk").first():
        cost = None if job.cost_usd is None else str(job.cost_usd)
        facts |= {"prediction": job.external_id, "job_id": job.pk, "model": job.model}
        facts["cost_usd"] = cost
    return {name: value for name, value in facts.items() if value is not None}

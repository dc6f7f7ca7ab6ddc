"""Let failed tokens go on in the stage where they failed, with everything that is stored.

By hand, or without a person what failed for a reason that passes: then
`tokens.transitions.claims.fail_tokens` says in `next_attempt_at` when, and the token stays failed
while its stage is paused or the daily cap is reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from django.db import connection
from django.db.models.functions import Now

from authors.models import PROMPT_MAX_LENGTH
from glisk.pauses import list_pauses
from tokens.models import ImageGenerationJob, Token, TokenImage
from tokens.models.job import JobStatus
from tokens.pipeline import jobs
from tokens.pipeline.image_vendors import cap_reason
from tokens.repairs.results import RepairResult, service, wake, with_reason
from tokens.states import REPAIRS, Repair, TokenStatus
from tokens.transitions.claims import forget_delay
from tokens.transitions.status import Move, move_tokens

logger = structlog.get_logger(__name__)

AUTOMATIC = "automatic retry"
NO_PROMPT = "Its prompt is empty or too long: set the author's prompt first."
# A job that failed while its image was fetched, and not by what the image is: as long as the
# vendor keeps the file, it is fetched again instead of being paid for again.
_FETCH_FAULTS = frozenset({"permanent", "transient", "rate_limited", "unexpected"})

_STAGES = {
    TokenStatus.DETECTED: "generation",
    TokenStatus.GENERATING: "generation",
    TokenStatus.UPLOADING: "upload",
    TokenStatus.READY: "reveal",
}


@dataclass(frozen=True)
class _Way:
    """How one token goes on; without a target it does not, and the message says why."""

    token: Token
    message: str
    target: TokenStatus | None = None
    pays: bool = False
    reopened: ImageGenerationJob | None = None


def failed_token_ids(
    *,
    stage: str | None = None,
    error_class: str | None = None,
    token_ids: Sequence[int] | None = None,
    limit: int | None = None,
) -> list[int]:
    """Return the failed tokens that are asked for, oldest mint first.

    `stage` is the state that a token failed in (tokens.states).
    """
    found = Token.objects.filter(status=TokenStatus.FAILED)
    if error_class is not None:
        found = found.filter(error_class=error_class)
    if token_ids is not None:
        found = found.filter(pk__in=token_ids)
    ids = list(found.order_by("mint_timestamp", "pk").values_list("pk", flat=True))
    if stage is not None:
        stages = stages_of(ids)
        ids = [token_id for token_id in ids if stages.get(token_id) == stage]
    return ids[:limit]


@service(at_once=100)  # no drain touches a failed token
def retry_tokens(
    tokens: Sequence[Token], *, actor: str, reason: str, dry_run: bool, automatic: bool = False
) -> Iterator[RepairResult]:
    """Put failed tokens back into the stage they failed in.

    Stored ids stay: an image that is here is not generated again, and a prediction that is known
    or that the vendor still keeps is not paid for again. `automatic`: nobody asked for it, and it
    counts; a person's retry begins the count anew.
    """
    if automatic:  # under the lock: a person may have been faster
        tokens = [token for token in tokens if token.next_attempt_at is not None]
    ways = _ways_of(tokens)
    if not dry_run:
        _go(ways, actor=actor, reason=reason, automatic=automatic)
    for way in ways:
        held = " It is held: release it, too." if way.token.held_at is not None else ""
        done = way.target is not None
        yield RepairResult(way.token.pk, done, f"{way.message}{held}", way.pays)


def _ways_of(tokens: Sequence[Token]) -> list[_Way]:
    """Decide how each token goes on, by where it failed and what is left of its work."""
    ids = [token.pk for token in tokens]
    stages, open_jobs, fetchable = stages_of(ids), jobs.open_jobs(ids), _fetchable_jobs(ids)
    kept = TokenImage.objects.filter(pk__in=ids, data__isnull=False)
    with_bytes = set(kept.values_list("pk", flat=True))
    ways = []
    for token in tokens:
        stage = stages.get(token.pk)
        if stage is None:
            way = _Way(token, f"It has not failed: it is {token.status}.")
        elif stage is TokenStatus.READY and token.image_cid and token.metadata_cid:
            way = _Way(token, "Back to its reveal.", stage)
        elif stage in (TokenStatus.READY, TokenStatus.UPLOADING):
            way = _Way(token, "The image's bytes are not kept: regenerate it.")
            if token.image_cid and token.metadata_text and token.pk in with_bytes:
                message = "Back to its upload, with the image that is here."
                way = _Way(token, message, TokenStatus.UPLOADING)
        elif token.pk in open_jobs:
            message = "Back to its generation, with the call that is under way."
            way = _Way(token, message, TokenStatus.GENERATING)
        elif token.pk in fetchable:
            message = "Back to its generation, with the image that is paid for."
            job = fetchable[token.pk]
            way = _Way(token, message, TokenStatus.GENERATING, reopened=job)
        elif usable_prompt(token) is not None:
            message = "Back to its generation: a new prediction is paid for."
            way = _Way(token, message, stage, pays=True)
        else:
            way = _Way(token, NO_PROMPT)
        ways.append(way)
    return ways


def _go(ways: Sequence[_Way], *, actor: str, reason: str, automatic: bool) -> None:
    # The image of a paid job is fetched once more.
    reopened = [way.reopened.pk for way in ways if way.reopened is not None]
    ImageGenerationJob.objects.filter(pk__in=reopened, status=JobStatus.FAILED).update(
        status=JobStatus.SUCCEEDED, error_class="", error=""
    )
    targets = {way.target for way in ways if way.target is not None}
    for target in sorted(targets):
        moves = [_move(way, reason, automatic=automatic) for way in ways if way.target == target]
        moved = move_tokens(
            moves,
            source=TokenStatus.FAILED,
            target=target,
            actor=actor,
            allowed=REPAIRS[Repair.RETRY],
        )
        logger.info("tokens_retried", token_ids=sorted(moved)[:100], stage=target, actor=actor)
    if targets:
        wake(*targets)


def _move(way: _Way, reason: str, *, automatic: bool) -> Move:
    token = way.token
    prompt = (usable_prompt(token) if way.pays else None) or token.prompt
    anew = way.target in (TokenStatus.DETECTED, TokenStatus.GENERATING)
    detail = {
        "repair": Repair.RETRY.value,
        "error_class": token.error_class,
        "error": token.generation_error or "",
    }
    if prompt != token.prompt:
        detail["old_prompt"] = token.prompt
    return Move(
        token_id=token.pk,
        reason=with_reason("retried", reason),
        fields={
            "prompt": prompt,
            "generation_attempts": 0 if anew else token.generation_attempts,
            "generation_error": None,
            "error_class": "",
            "automatic_retries": token.automatic_retries + 1 if automatic else 0,
        },
        detail=detail,
    )


def stages_of(token_ids: Sequence[int]) -> dict[int, TokenStatus]:
    """Return the stage that each failed token failed in: by its timeline, else by its artefacts."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT t.token_id, COALESCE(f.from_status, CASE
                WHEN t.metadata_cid IS NOT NULL THEN 'ready'
                WHEN t.image_cid IS NOT NULL THEN 'uploading' ELSE 'generating' END)
            FROM tokens_s0 t LEFT JOIN LATERAL (
                SELECT from_status FROM token_transitions
                WHERE token_id = t.token_id AND to_status = 'failed' AND from_status <> 'failed'
                ORDER BY id DESC LIMIT 1
            ) f ON true
            WHERE t.token_id = ANY(%s) AND t.status = 'failed'
            """,
            [list(token_ids)],
        )
        return {token_id: TokenStatus(stage) for token_id, stage in cursor.fetchall()}


def _fetchable_jobs(token_ids: Sequence[int]) -> dict[int, ImageGenerationJob]:
    newest = (
        ImageGenerationJob.objects.filter(token_id__in=token_ids)
        .order_by("token_id", "-pk")
        .distinct("token_id")
    )
    return {
        job.token_id: job
        for job in newest
        if job.status == JobStatus.FAILED
        and job.output_url
        and job.external_id
        and job.error_class in _FETCH_FAULTS
        and jobs.age_seconds(job.created_at) < jobs.OUTPUT_LIFETIME_SECONDS
    }


def usable_prompt(token: Token) -> str | None:
    """Return the prompt to go on with: the frozen one, or the author's if that one is senseless."""
    for prompt in (token.prompt, token.author.prompt_text):
        if prompt.strip() and len(prompt) <= PROMPT_MAX_LENGTH:
            return prompt
    return None


def retry_what_is_due() -> int:
    """Put the failed tokens back whose time has come and whose stage may go on; return how many."""
    due = Token.objects.filter(
        status=TokenStatus.FAILED, next_attempt_at__lte=Now(), held_at__isnull=True
    )
    ids = list(due.values_list("pk", flat=True))
    if not ids:
        return 0
    closed = {pause.stage for pause in list_pauses()}
    if cap_reason():
        closed.add("generation")
    wanted = [i for i, stage in stages_of(ids).items() if _STAGES[stage] not in closed]
    results = retry_tokens(token_ids=wanted, actor=AUTOMATIC, automatic=True)
    # What stands in the way of these, only a person can mend.
    refused = [result.token_id for result in results if not result.done]
    forget_delay(refused, status=TokenStatus.FAILED)
    return len(results) - len(refused)

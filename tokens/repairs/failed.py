"""Where failed tokens stopped, and what is still there to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from authors.models import PROMPT_MAX_LENGTH
from tokens.models import ImageGenerationJob, Token, TokenImage
from tokens.models.job import JobStatus
from tokens.pipeline import jobs
from tokens.states import TokenStatus

# A job that failed while its image was fetched, and not by what the image is: as long as the
# vendor keeps the file, it is fetched again instead of being paid for again.
_FETCH_FAULTS = frozenset({"permanent", "transient", "rate_limited", "unexpected"})


@dataclass(frozen=True)
class Remains:
    """What is known of failed tokens, by token id."""

    stages: dict[int, TokenStatus]
    open_jobs: dict[int, ImageGenerationJob]
    fetchable: dict[int, ImageGenerationJob]
    with_bytes: frozenset[int]


def remains_of(tokens: Sequence[Token]) -> Remains:
    """Look up where these tokens failed and what is left of their work; four queries."""
    ids = [token.pk for token in tokens]
    images = TokenImage.objects.filter(pk__in=ids, data__isnull=False)
    return Remains(
        stages=stages_of(ids),
        open_jobs=jobs.open_jobs(ids),
        fetchable=_fetchable_jobs(ids),
        with_bytes=frozenset(images.values_list("pk", flat=True)),
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


def reopen(job: ImageGenerationJob) -> None:
    """Let the image of a paid job be fetched once more."""
    ImageGenerationJob.objects.filter(pk=job.pk, status=JobStatus.FAILED).update(
        status=JobStatus.SUCCEEDED, error_class="", error=""
    )


def usable_prompt(token: Token) -> str | None:
    """Return the prompt to go on with: the frozen one, or the author's if that one is senseless."""
    for prompt in (token.prompt, token.author.prompt_text):
        if prompt.strip() and len(prompt) <= PROMPT_MAX_LENGTH:
            return prompt
    return None


NO_PROMPT = "Its prompt is empty or too long: set the author's prompt first."

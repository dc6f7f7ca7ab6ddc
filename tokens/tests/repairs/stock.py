"""Tokens as they stand when a person is needed."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from django.db import connection

from authors.tests.factories import wallet
from glisk.cid import compute_cid
from tokens.models import ImageGenerationJob, Token, TokenImage, TokenTransition
from tokens.models.job import JobStatus
from tokens.repairs import RepairResult
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

ACTOR = "operator alice"


def failed(stage: TokenStatus, **columns: Any) -> Token:
    """Make a token that failed in a stage, with everything that it had by then."""
    has_image = stage in (TokenStatus.UPLOADING, TokenStatus.READY)
    token: Token = TokenFactory.create(status=TokenStatus.FAILED, **columns)
    if has_image:
        data = b"bytes of image %d" % token.pk
        token.image_cid = compute_cid(data, version=1)
        token.metadata_text = json.dumps({"name": token.name, "image": f"ipfs://{token.image_cid}"})
        add_image(token, data)
    if stage is TokenStatus.READY and token.metadata_text:
        token.metadata_cid = compute_cid(token.metadata_text.encode(), version=0)
    token.save()
    TokenTransition.objects.create(
        token=token, from_status=stage, to_status="failed", actor="drain", reason="It broke."
    )
    return token


def with_artefacts(status: TokenStatus, **columns: Any) -> Token:
    """Make a token with its image and the job that paid for it."""
    token: Token = TokenFactory.create(status=status, metadata_text="{}", **columns)
    add_image(token, b"bytes of image %d" % token.pk)
    add_job(token, JobStatus.CAPTURED)
    return token


def add_image(token: Token, data: bytes) -> None:
    TokenImage.objects.create(
        token=token,
        data=data,
        mime_type="image/webp",
        extension="webp",
        width=96,
        height=96,
        size_bytes=len(data),
        sha256=sha256(data).hexdigest(),
    )


def add_job(token: Token, status: JobStatus, **columns: Any) -> ImageGenerationJob:
    facts: dict[str, Any] = {
        "prompt": token.prompt,
        "input": {"prompt": token.prompt, "seed": token.pk},
        "service": "replicate",
        "model": "black-forest-labs/flux-schnell",
        "external_id": None if status == JobStatus.CREATED else f"prediction{token.pk}",
        "attempt_number": 1,
        "cost_usd": "0.003",
    }
    job: ImageGenerationJob = ImageGenerationJob.objects.create(
        token=token, status=status, **(facts | columns)
    )
    return job


def put_in_batch(token: Token, *, is_open: bool = True, settled: bool = False) -> None:
    """Let a reveal transaction be under way for a token, or reverted and perhaps settled."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO reveal_batches (keeper, nonce, status, created_at, closed_at, settled_at) "
            "VALUES (%s, %s, %s, now(), CASE WHEN %s THEN NULL ELSE now() END, "
            "CASE WHEN %s THEN now() END) RETURNING id",
            [wallet(9), token.pk, "open" if is_open else "reverted", is_open, settled],
        )
        cursor.execute(
            "INSERT INTO reveal_batch_tokens (batch_id, token_id, position, metadata_uri, is_open) "
            "VALUES (%s, %s, 0, 'ipfs://' || repeat('Q', 46), %s)",
            [cursor.fetchone()[0], token.pk, is_open],
        )


def timeline(token: Token) -> list[TokenTransition]:
    """Return what was written by hand."""
    return list(TokenTransition.objects.filter(token=token, actor=ACTOR).order_by("pk"))


def the_one(results: list[RepairResult]) -> RepairResult:
    (result,) = results
    return result

"""Collect an image: fetch and check it, keep its bytes, move its token on.

job succeeded → captured, token uploading with CID and metadata; job errored → what failures.py says
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from glisk.cid import compute_cid
from glisk.clients.image_download import (
    DATA_SCHEME,
    ImageFacts,
    download_output,
    inspect_image,
    read_data_uri,
)
from glisk.engine.broker import notify
from glisk.engine.step import Done, Failed
from glisk.errors import ContentPolicyError, ProviderError, TransientError, as_provider_error
from glisk.verify import SALT_BYTES, canonical_json, prompt_digest
from tokens.models import ImageGenerationJob, TokenImage
from tokens.models.job import JobStatus
from tokens.models.token import token_name
from tokens.pipeline import jobs
from tokens.pipeline.failures import Failure, settle_failures
from tokens.pipeline.image_vendors import ImageService, ImageStep
from tokens.states import TokenStatus
from tokens.transitions import UPLOAD_CHANNEL
from tokens.transitions.claims import Claim, JobClaim, claim_jobs, finish

logger = structlog.get_logger(__name__)

# What `build_metadata` writes; the timeline keeps which one a token has.
#   1  author's handles
#   2  and season and model
#   3  and what binds the prompt, the seed and the prediction (docs/provenance.md)
METADATA_VERSION = 3

# Decoding is work for the CPU, which two threads share better than many: a hundred pictures of
# 1024 pixels a second and more.
_decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")


@dataclass(frozen=True)
class Captured:
    """An image as fetched and checked, with the CID that it will have."""

    data: bytes
    facts: ImageFacts
    cid: str


class Collect(ImageStep[JobClaim, "Captured | ProviderError"]):
    @property
    def most(self) -> int:
        return 2 * int(settings.WORKER_BATCH_SIZE)

    def places(self) -> int:
        ended = self.open_jobs.workable(JobStatus.SUCCEEDED, JobStatus.ERRORED)
        return min(self.free, ended)

    def claim(self, limit: int) -> Sequence[JobClaim]:
        return claim_jobs(
            owner=self.owner, limit=limit, statuses=[JobStatus.SUCCEEDED, JobStatus.ERRORED]
        )

    def leased(self, work: JobClaim) -> Sequence[int]:
        return (work.token_id,)

    def call(self, work: JobClaim) -> Captured | ProviderError:
        """Return the image, or why there is none, as a callback has said or the settings do."""
        service = self.services.of(work.job)
        if service is None:
            return not_configured(work.job)
        if work.job.status == JobStatus.ERRORED:
            return jobs.error_of(work.job)
        return capture_image(service, url=work.job.output_url or "")

    def settle(
        self,
        done: Sequence[Done[JobClaim, Captured | ProviderError]],
        failed: Sequence[Failed[JobClaim]],
    ) -> None:
        outcomes = [(each.work, each.work.job, each.value) for each in done]
        not_captured = [_not_captured(each.work, each.error) for each in failed]
        settle_outcomes(outcomes, not_captured, owner=self.owner)


def settle_outcomes(
    outcomes: Sequence[tuple[Claim, ImageGenerationJob, Captured | ProviderError]],
    others: Sequence[Failure],
    *,
    owner: str,
) -> None:
    """Store the images that came, and decide what it means that none did."""
    images = [(c, j, value) for c, j, value in outcomes if isinstance(value, Captured)]
    ended = [
        Failure(claim, job, value, JobStatus.FAILED)
        for claim, job, value in outcomes
        if isinstance(value, ProviderError)
    ]
    save_captured(images, owner=owner)
    settle_failures([*ended, *others], owner=owner)


def not_configured(job: ImageGenerationJob) -> TransientError:
    text = f"{job.service}: it is not configured any more; the image is made anew."
    return TransientError(text, vendor=job.service)


def _not_captured(claim: JobClaim, error: Exception) -> Failure:
    """A passing fault leaves the job open, for as long as the vendor keeps the image."""
    fault = as_provider_error(error, vendor="replicate")
    if fault is not error:
        logger.error("capture_failed", token_id=claim.token_id, exc_info=error)
    expired = jobs.age_seconds(claim.job.created_at) > jobs.OUTPUT_LIFETIME_SECONDS
    stays_open = isinstance(fault, TransientError) and not expired
    return Failure(claim, claim.job, fault, None if stays_open else JobStatus.FAILED)


def capture_image(service: ImageService, *, url: str) -> Captured:
    """Fetch an image (or read its data URI), decode it fully, compute its CID; runs in a thread.

    Raises `ContentPolicyError` for a blank picture: that is how some models refuse a prompt.
    """
    most = settings.IMAGE_MAX_BYTES
    if url.startswith(DATA_SCHEME):
        data = read_data_uri(url, max_bytes=most, vendor=service.name)
    else:
        data = download_output(
            url,
            allowed_hosts=service.output_hosts,
            max_bytes=most,
            timeout=settings.HTTP_READ_TIMEOUT_SECONDS,
        )
    facts = _decoders.submit(inspect_image, data, max_bytes=most).result()
    if facts.is_blank:
        raise ContentPolicyError(
            f"{service.name}: the image is blank, which is how a refused prompt may end",
            vendor=service.name,
            code="blank_image",
        )
    return Captured(data, facts, compute_cid(data, version=1 if settings.IMAGE_CID_VERSION else 0))


def build_metadata(
    *,
    token_id: int,
    image_cid: str,
    twitter_handle: str | None,
    farcaster_handle: str | None,
    model: str = "",
    origin: Mapping[str, Any] | None = None,
) -> str:
    """Return the ERC-721 metadata as canonical JSON: sorted keys, no blanks, UTF-8 as such.

    Fields follow the marketplaces' metadata standard; names and texts continue what is on chain
    already ("GLISK S0 #N"). The text is stored with the token, so that no later change of a handle,
    a setting or this function changes a file whose CID is known.
    `model` is what made this image, `owner/name` or `owner/name:version`; the trait leaves the
    version out. `origin` (`origin_of`) stands there as a whole, for who checks the token.
    """
    traits = (
        ("Author X Handle", _handle(twitter_handle)),
        ("Author Farcaster Handle", _handle(farcaster_handle)),
        ("Season", str(settings.SEASON)),
        ("Model", model.partition(":")[0]),
    )
    document = {
        "name": token_name(token_id),
        "description": settings.METADATA_DESCRIPTION,
        "image": f"ipfs://{image_cid}",
        "attributes": [{"trait_type": trait, "value": value} for trait, value in traits if value],
        **({"provenance": origin} if origin else {}),
    }
    return canonical_json(document)


def origin_of(job: ImageGenerationJob, *, salt: str) -> dict[str, Any]:
    """Return how an image was made, without the prompt itself, which only its author may tell."""
    return {
        "model": job.model,
        "prediction": job.external_id,
        "prompt_sha256": prompt_digest(salt=salt, prompt=job.input["prompt"]),
        "seed": job.input["seed"],
    }


def _handle(handle: str | None) -> str:
    bare = (handle or "").strip().removeprefix("@")
    return f"@{bare}" if bare else ""


def save_captured(
    captured: Sequence[tuple[Claim, ImageGenerationJob, Captured]], *, owner: str
) -> None:
    """Store images and metadata, close the jobs, move the tokens to uploading; one transaction."""
    if not captured:
        return
    with transaction.atomic():
        handles = _handles_of([claim.token_id for claim, _, _ in captured])
        results = []
        for claim, job, image in captured:
            twitter, farcaster = handles.get(claim.token_id, (None, None))
            salt = secrets.token_hex(SALT_BYTES)
            text = build_metadata(
                token_id=claim.token_id,
                image_cid=image.cid,
                twitter_handle=twitter,
                farcaster_handle=farcaster,
                model=job.model,
                origin=origin_of(job, salt=salt),
            )
            came_inside = (job.output_url or "").startswith(DATA_SCHEME)
            fields = {
                "image_cid": image.cid,
                "image_url": None if came_inside else job.output_url,
                "metadata_text": text,
            }
            # Who made it, so that images of the self-hosted server can be found later.
            detail = {
                "service": job.service,
                "model": job.model,
                "job_id": job.pk,
                "sha256": image.facts.sha256,
                "metadata_version": METADATA_VERSION,
                "prompt_salt": salt,
            }
            results.append((claim, fields, detail))
        moved = finish(
            results, source=TokenStatus.GENERATING, target=TokenStatus.UPLOADING, owner=owner
        )
        ours = [each for each in captured if each[0].token_id in moved]
        _store_images([(claim.token_id, image) for claim, _, image in ours])
        jobs.close_jobs([job.pk for _, job, _ in ours], status=JobStatus.CAPTURED)
        if moved:
            notify(UPLOAD_CHANNEL)
    for claim, _, _ in captured:
        if claim.token_id not in moved:
            logger.info("stale_claim", token_id=claim.token_id)


def _handles_of(token_ids: list[int]) -> dict[int, tuple[str | None, str | None]]:
    """Return the author's handles at X and Farcaster by token id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.token_id, a.twitter_handle, a.farcaster_handle FROM tokens_s0 t "
            "JOIN authors a ON a.id = t.author_id WHERE t.token_id = ANY(%s)",
            [token_ids],
        )
        return {row[0]: (row[1], row[2]) for row in cursor.fetchall()}


def _store_images(captured: Sequence[tuple[int, Captured]]) -> None:
    """Write the bytes and what they are; an earlier image of the token is replaced."""
    if not captured:
        return
    rows = [
        TokenImage(
            token_id=token_id,
            data=image.data,
            mime_type=image.facts.mime,
            extension="jpg" if image.facts.format == "jpeg" else image.facts.format,
            width=image.facts.width,
            height=image.facts.height,
            size_bytes=image.facts.size_bytes,
            sha256=image.facts.sha256,
        )
        for token_id, image in captured
    ]
    columns = ["data", "mime_type", "extension", "width", "height", "size_bytes", "sha256"]
    TokenImage.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["token"], update_fields=columns
    )

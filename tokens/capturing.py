"""Keep an image's bytes and move its token on, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import transaction

from tokens import jobs
from tokens.calls import Captured
from tokens.metadata import METADATA_VERSION, build_metadata
from tokens.models import Token, TokenImage
from tokens.models.job import JobStatus
from tokens.moves import Lease, Move, move_tokens
from tokens.states import TokenStatus
from tokens.uploads import image_extension

if TYPE_CHECKING:
    from tokens.items import Item


def save_captured(
    captured: Sequence[tuple[Item, Captured]], *, owner: str, keep_lease: bool
) -> dict[int, str]:
    """Store images and metadata, close the jobs, move the tokens to uploading.

    Returns the metadata text by token id for the tokens that were still ours.
    """
    if not captured:
        return {}
    with transaction.atomic():
        authors = {
            token.token_id: token.author
            for token in Token.objects.filter(token_id__in=[item.token_id for item, _ in captured])
            .select_related("author")
            .only("token_id", "author__twitter_handle", "author__farcaster_handle")
        }
        texts = {
            item.token_id: build_metadata(
                token_id=item.token_id,
                image_cid=image.cid,
                twitter_handle=authors[item.token_id].twitter_handle,
                farcaster_handle=authors[item.token_id].farcaster_handle,
                model=item.job.model,
            )
            for item, image in captured
            if item.token_id in authors
        }
        moved = move_tokens(
            [
                Move(
                    token_id=item.token_id,
                    attempts=item.attempts,
                    fields={
                        "image_cid": image.cid,
                        "image_url": item.job.output_url,
                        "metadata_text": texts.get(item.token_id),
                        "generation_error": None,
                        "error_class": "",
                    },
                    # Who made it, so that images of the self-hosted server can be found later.
                    detail={
                        "service": item.job.service,
                        "model": item.job.model,
                        "job_id": item.job.pk,
                        "sha256": image.facts.sha256,
                        "metadata_version": METADATA_VERSION,
                    },
                )
                for item, image in captured
            ],
            source=TokenStatus.GENERATING,
            target=TokenStatus.UPLOADING,
            actor=owner,
            lease=Lease(owner, keep=keep_lease),
        )
        ours = [(item, image) for item, image in captured if item.token_id in moved]
        TokenImage.objects.bulk_create(
            [_image_row(item, image) for item, image in ours],
            update_conflicts=True,
            unique_fields=["token"],
            update_fields=[
                "data",
                "mime_type",
                "extension",
                "width",
                "height",
                "size_bytes",
                "sha256",
            ],
        )
        jobs.close_jobs([item.job.pk for item, _ in ours], status=JobStatus.CAPTURED)
    return {token_id: texts[token_id] for token_id in moved}


def _image_row(item: Item, image: Captured) -> TokenImage:
    facts = image.facts
    return TokenImage(
        token_id=item.token_id,
        data=image.data,
        mime_type=facts.mime,
        extension=image_extension(facts.format),
        width=facts.width,
        height=facts.height,
        size_bytes=facts.size_bytes,
        sha256=facts.sha256,
    )

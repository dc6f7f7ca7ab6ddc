"""Where a revealed token comes from: everything that a stranger needs to check it.

Nothing is told of a token that is not revealed, nor of one that somebody else revealed: we did not
make its image. docs/provenance.md describes the bundle, `glisk.verify` checks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings

from glisk.verify import FORMAT, VERSION, prompt_digest
from reveals.models import RevealTransaction, TransactionStatus
from tokens.models import ImageGenerationJob, Token, TokenTransition
from tokens.models.job import JobStatus
from tokens.states import TokenStatus

Bundle = dict[str, Any]
AT_ONCE = 200


def bundles(*, first_id: int = 1, last_id: int = 2**63 - 1) -> Iterator[Bundle]:
    """Yield the bundles of a range of token ids, both ends included, by id; four queries for 200.

    A token whose mint, image or transaction is not in the database has none.
    """
    while True:
        chosen = (
            Token.objects.filter(status=TokenStatus.REVEALED, adopted_uri=None)
            .filter(pk__gte=first_id, pk__lte=last_id, mint_event__isnull=False)
            .select_related("mint_event", "author", "image")
            .defer("image__data", "error_log")
            .order_by("pk")[:AT_ONCE]
        )
        tokens = list(chosen)
        yield from _bundles_of(tokens)
        if len(tokens) < AT_ONCE:
            return
        first_id = tokens[-1].pk + 1


def bundle_of(token_id: int) -> Bundle | None:
    """Return a token's bundle; None if there is none."""
    return next(bundles(first_id=token_id, last_id=token_id), None)


def _bundles_of(tokens: Iterable[Token]) -> Iterator[Bundle]:
    ids = [token.pk for token in tokens]
    captured = ImageGenerationJob.objects.filter(token_id__in=ids, status=JobStatus.CAPTURED)
    jobs = {job.token_id: job for job in captured.order_by("pk")}  # the last one made the image
    moves = TokenTransition.objects.filter(
        token_id__in=ids, to_status=TokenStatus.UPLOADING, detail__has_key="sha256"
    )
    details = {move.token_id: move.detail for move in moves.order_by("pk")}
    hashes = [token.reveal_tx_hash for token in tokens]
    mined = RevealTransaction.objects.filter(tx_hash__in=hashes, status=TransactionStatus.CONFIRMED)
    reveals = {row.tx_hash: row for row in mined.defer("raw_transaction")}
    for token in tokens:
        job, detail = jobs.get(token.pk), details.get(token.pk)
        reveal = reveals.get(token.reveal_tx_hash or "")
        if job and detail is not None and reveal and hasattr(token, "image"):
            yield _bundle(token, job, detail, reveal)


def _bundle(
    token: Token, job: ImageGenerationJob, detail: dict[str, Any], reveal: RevealTransaction
) -> Bundle:
    mint, image = token.mint_event, token.image
    assert mint is not None  # asked for
    return {
        "format": FORMAT,
        "version": VERSION,
        "chain_id": settings.CHAIN_ID,
        "contract": settings.GLISK_NFT_CONTRACT_ADDRESS,
        "token_id": token.pk,
        "author": token.prompt_author_wallet,
        "minter": mint.minter,
        "mint": {
            "transaction": mint.tx_hash,
            "log_index": mint.log_index,
            "block_number": mint.block_number,
            "block_hash": mint.block_hash,
            "minted_at": mint.block_timestamp.isoformat(),
        },
        "generation": {
            "service": job.service,
            "model": job.model,
            "prediction": job.external_id,
            "seed": job.input["seed"],
            "fallback_prompt": token.fallback_used,
            "started_at": job.created_at.isoformat(),
            "finished_at": job.completed_at.isoformat() if job.completed_at else None,
            **_prompt(token, job, str(detail.get("prompt_salt", ""))),
        },
        "image": {
            "cid": token.image_cid,
            "sha256": image.sha256,
            "size_bytes": image.size_bytes,
            "mime_type": image.mime_type,
        },
        "metadata": {"cid": token.metadata_cid, "text": token.metadata_text},
        "reveal": {
            "transaction": reveal.tx_hash,
            "block_number": reveal.block_number,
            "block_hash": reveal.block_hash,
            "keeper": reveal.keeper,
            "revealed_at": token.revealed_at.isoformat() if token.revealed_at else None,
        },
    }


def _prompt(token: Token, job: ImageGenerationJob, salt: str) -> dict[str, str]:
    """Return the digest, and what it is made of where the author has made the prompt public.

    Tokens of before the digest have no salt, and none without one: it could be guessed.
    """
    prompt = job.input["prompt"]
    told = {"prompt_sha256": prompt_digest(salt=salt, prompt=prompt) if salt else ""}
    if token.author.prompt_is_public:
        told |= {"prompt": prompt, "prompt_salt": salt}
    return told

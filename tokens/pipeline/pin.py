"""Pin a token's image and metadata at Pinata, under the CIDs that we computed.

token uploading → ready

Both files go up at the same time, since the metadata's CID needs no answer from anybody. A file
that is pinned already is not sent again. An answer with another CID is a hard stop.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import connection, transaction

from glisk.breaker import Breaker
from glisk.cid import compute_cid
from glisk.clients.ipfs import PinataClient
from glisk.engine.broker import notify
from glisk.engine.step import Done, Failed, Step
from glisk.errors import (
    ArtefactError,
    ProviderError,
    TransientError,
    as_provider_error,
    backoff_seconds,
    error_class_of,
    is_for_the_rate,
)
from glisk.pauses import Pauses
from glisk.rate_limit import RateLimit
from glisk.timing import timing
from tokens.models import Token
from tokens.models.artefact import UploadStatus, UploadType
from tokens.states import TokenStatus
from tokens.transitions import REVEAL_CHANNEL
from tokens.transitions.claims import (
    Claim,
    Result,
    Retry,
    claim_for_upload,
    fail_tokens,
    finish,
    give_back,
    retry_later,
    seconds_until_next_attempt,
)
from tokens.transitions.status import as_json

logger = structlog.get_logger(__name__)

_LONGEST_BACKOFF_SECONDS = 60.0
_MISSING_IMAGE = "The image's bytes are gone from the database: regenerate the token."


class CidMismatchError(ArtefactError):
    """Pinata has other bytes than we have sent, or says so."""

    error_class = "cid_mismatch"


@dataclass(frozen=True)
class Upload:
    """One file that has to be pinned, and the CID that it must get."""

    kind: UploadType
    data: bytes
    name: str
    content_type: str
    cid: str


@dataclass(frozen=True)
class UploadOutcome:
    upload: Upload
    returned_cid: str = ""
    error: ProviderError | None = None

    @property
    def status(self) -> UploadStatus:
        if self.error is not None:
            return UploadStatus.FAILED
        same = self.returned_cid == self.upload.cid
        return UploadStatus.SUCCEEDED if same else UploadStatus.MISMATCH


@dataclass(frozen=True)
class Stored:
    """A claimed token with its files that are not pinned yet; `tries` counts attempts by kind."""

    claim: Claim
    claimed_at: float  # monotonic
    missing: list[Upload]
    metadata_cid: str
    tries: Counter[str]

    @property
    def token_id(self) -> int:
        return self.claim.token_id


class Pin(Step[Stored, list[UploadOutcome]]):
    def __init__(self, owner: str, pauses: Pauses) -> None:
        super().__init__(owner)
        self.pauses = pauses
        self.client = PinataClient()
        self.breaker = Breaker("pinata")
        self.rate = RateLimit(
            "pinata", per_minute=settings.PINATA_REQUESTS_PER_MINUTE, slack_seconds=1
        )
        # The second file of each token; the first goes up in the step's own thread.
        self._pool = ThreadPoolExecutor(self.most, thread_name_prefix="pin")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def most(self) -> int:
        return int(settings.UPLOAD_CONCURRENCY)

    def places(self) -> int:
        free = self.most - len(self.under_way)
        if free <= 0 or self.pauses.is_paused("upload") or self.rate.seconds_until_free:
            return 0
        return self.breaker.places(free)

    def due_in(self) -> float | None:
        waits = [seconds_until_next_attempt(TokenStatus.UPLOADING), self.rate.seconds_until_free]
        if self.breaker.is_open:
            # A probe that is due already was not wanted now: then the idle tick will do.
            waits += [self.breaker.seconds_until_probe, timing.breaker_recheck]
        return min((wait for wait in waits if wait), default=None)

    def claim(self, limit: int) -> Sequence[Stored]:
        claimed_at = time.monotonic()
        with transaction.atomic():
            claimed = claim_for_upload(owner=self.owner, limit=limit)
            works = load_files(claimed, claimed_at=claimed_at)
            whole = {work.token_id for work in works}
            gone = [(c, _MISSING_IMAGE, "storage") for c in claimed if c.token_id not in whole]
            fail_tokens(gone, source=TokenStatus.UPLOADING, owner=self.owner)
            admitted = self.rate.take_whole([len(work.missing) for work in works])
            give_back([work.claim for work in works[admitted:]], owner=self.owner)
        self.has_put_off = admitted < len(works)
        return works[:admitted]

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.breaker,)

    def leased(self, work: Stored) -> Sequence[int]:
        return (work.token_id,)

    def call(self, work: Stored) -> list[UploadOutcome]:
        """Pin the missing files at the same time; one file's fault does not hide the other."""
        others = [self._pool.submit(self._pin, work.token_id, each) for each in work.missing[1:]]
        first = [self._pin(work.token_id, each) for each in work.missing[:1]]
        return [*first, *(other.result() for other in others)]

    def _pin(self, token_id: int, upload: Upload) -> UploadOutcome:
        try:
            cid = self.client.pin_file(
                data=upload.data,
                name=upload.name,
                keyvalues={"season": str(settings.SEASON), "token_id": str(token_id)},
                # The CID decides: the setting may have changed since it was computed.
                cid_version=0 if upload.cid.startswith("Qm") else 1,
                content_type=upload.content_type,
            )
        except ProviderError as error:
            return UploadOutcome(upload, error=error)
        return UploadOutcome(upload, cid)

    def settle(
        self, done: Sequence[Done[Stored, list[UploadOutcome]]], failed: Sequence[Failed[Stored]]
    ) -> None:
        self._note_refusals(done)
        results = [(each.work, _fault(each.value, each.work.token_id)) for each in done]
        for lost in failed:  # `call` returns the vendor's faults; this is one of ours
            logger.error("upload_failed", token_id=lost.work.token_id, exc_info=lost.error)
            results.append((lost.work, as_provider_error(lost.error, vendor="pinata")))
        if any(fault is None for _, fault in results):
            self.breaker.succeeded()
        source = TokenStatus.UPLOADING
        ready: list[Result] = []
        retries, hopeless = [], []
        for work, fault in results:
            if fault is None:
                ready.append((work.claim, {"metadata_cid": work.metadata_cid}, {}))
            elif self.breaker.refused(fault, paced=True):
                retries.append(_retry_of(work, fault, waits=True))
            elif isinstance(fault, TransientError):
                retries.append(_retry_of(work, fault, waits=False))
            else:
                why = f"{fault} Mend the cause, then retry: the files are kept."
                hopeless.append((work.claim, why, error_class_of(fault)))
        with transaction.atomic():
            ours = finish(ready, source=source, target=TokenStatus.READY, owner=self.owner)
            if ours:
                notify(REVEAL_CHANNEL)
            ours |= retry_later(retries, owner=self.owner)
            ours |= fail_tokens(hopeless, source=source, owner=self.owner)
            # Of what is delivered a second time, or whose lease is lost, nothing is ours.
            save_records([(d.work, o) for d in done if d.work.token_id in ours for o in d.value])

    def _note_refusals(self, done: Sequence[Done[Stored, list[UploadOutcome]]]) -> None:
        """Tell the rate limit which calls were refused for the rate; the others go on."""
        refused = {
            outcome.error: each.work.claimed_at
            for each in done
            for outcome in each.value
            if is_for_the_rate(outcome.error)
        }
        if refused:
            error = max(refused, key=lambda error: error.retry_after_seconds or 0.0)
            age = time.monotonic() - min(refused.values())
            self.rate.refused(error, age_seconds=age, calls=len(refused))


def _retry_of(work: Stored, error: ProviderError, *, waits: bool) -> Retry:
    """Return how a token waits: for the vendor, or for its next attempt."""
    at_least = error.retry_after_seconds if isinstance(error, TransientError) else None
    tried = max(work.tries.values(), default=0) + 1
    wait = backoff_seconds(tried, cap=_LONGEST_BACKOFF_SECONDS, at_least=at_least)
    return Retry(
        claim=work.claim,
        error=str(error),
        error_class=error_class_of(error),
        wait_seconds=timing.vendor_wait if waits else wait,
        counted=not waits,
    )


def _fault(outcomes: list[UploadOutcome], token_id: int) -> ProviderError | None:
    """Return what is wrong with a token's uploads; another CID is the worst."""
    for outcome in outcomes:
        if outcome.status == UploadStatus.MISMATCH:
            error = CidMismatchError(
                f"Pinata answered {outcome.returned_cid} for the {outcome.upload.kind}, whose CID "
                f"is {outcome.upload.cid}: nothing is revealed. Check the pinned file.",
                vendor="pinata",
            )
            logger.critical("cid_mismatch", token_id=token_id, reason=str(error))
            return error
    return next((outcome.error for outcome in outcomes if outcome.error is not None), None)


def load_files(claims: Sequence[Claim], *, claimed_at: float) -> list[Stored]:
    """Read what is to be pinned for claimed tokens; one whose bytes are gone is left out."""
    stored = Token.objects.select_related("image").prefetch_related("upload_records")
    tokens = stored.in_bulk([claim.token_id for claim in claims])
    works = []
    for claim in claims:
        token = tokens[claim.token_id]
        if files := _files_of(token):
            known = token.upload_records.all()
            pinned = [r.returned_cid for r in known if r.status == UploadStatus.SUCCEEDED]
            missing = [file for file in files if file.cid not in pinned]
            tries = Counter(record.upload_type for record in known)
            works.append(Stored(claim, claimed_at, missing, files[1].cid, tries))
    return works


def _files_of(token: Token) -> list[Upload]:
    """Return image and metadata as they are stored; nothing if one of them is missing."""
    image = getattr(token, "image", None)
    if image is None or image.data is None or not token.metadata_text or not token.image_cid:
        return []
    name = f"s{settings.SEASON}-token-{token.token_id}"
    data, kind = bytes(image.data), image.mime_type
    text = token.metadata_text.encode()
    cid = compute_cid(text, version=1 if settings.METADATA_CID_VERSION else 0)
    return [
        Upload(UploadType.IMAGE, data, f"{name}.{image.extension}", kind, token.image_cid),
        Upload(UploadType.METADATA, text, f"{name}-metadata.json", "application/json", cid),
    ]


def save_records(outcomes: Sequence[tuple[Stored, UploadOutcome]]) -> None:
    """Write what became of each attempt to pin a file; by the ORM, half a millisecond more."""
    if not outcomes:
        return
    rows = [
        {
            "token_id": work.token_id,
            "upload_type": outcome.upload.kind.value,
            "computed_cid": outcome.upload.cid,
            "returned_cid": outcome.returned_cid,
            "size_bytes": len(outcome.upload.data),
            "attempt_number": work.tries[outcome.upload.kind] + 1,
            "status": outcome.status.value,
            "error_class": error_class_of(outcome.error) if outcome.error else "",
            "error": str(outcome.error) if outcome.error else "",
        }
        for work, outcome in outcomes
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO ipfs_upload_records (token_id, upload_type, computed_cid, returned_cid, "
            "size_bytes, attempt_number, status, error_class, error, created_at) "
            "SELECT *, clock_timestamp() FROM json_to_recordset(%s::json) AS v(token_id bigint, "
            "upload_type text, computed_cid text, returned_cid text, size_bytes integer, "
            "attempt_number integer, status text, error_class text, error text)",
            [as_json(rows)],
        )

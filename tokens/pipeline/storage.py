"""The storage half of the pipeline: pin image and metadata under the CIDs that we computed.

Both files go up at the same time, since the metadata's CID needs no answer from anybody. A
file that is pinned already is not sent again. An answer with another CID is a hard stop.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.db import transaction

from glisk.backoff import backoff_seconds
from glisk.breaker import Breaker
from glisk.clients.pinata import PinataClient
from glisk.engine.drain import CallResult
from glisk.engine.notify import notify
from glisk.errors import (
    AccountError,
    PermanentError,
    ProviderError,
    TransientError,
    as_provider_error,
    error_class_of,
    is_for_the_rate,
)
from glisk.rate_limit import RateLimit
from tokens.pipeline import calls
from tokens.pipeline.calls import Captured, Upload, UploadOutcome
from tokens.pipeline.upload_records import UploadRecord, record_of, save_records
from tokens.pipeline.uploads import Files, fresh_files, load_files
from tokens.states import TokenStatus
from tokens.transitions import REVEAL_CHANNEL
from tokens.transitions.claims import MAX_CLAIMS, claim_for_upload
from tokens.transitions.delays import Retry, retry_later
from tokens.transitions.status import Failed, Lease, Move, fail_tokens, move_tokens

if TYPE_CHECKING:
    from tokens.pipeline.drain import PipelineDrain

logger = structlog.get_logger(__name__)

_LONGEST_BACKOFF_SECONDS = 60.0
_MISSING_IMAGE = "The image's bytes are gone from the database: regenerate the token."


@dataclass
class Item:
    """A token whose files are on their way."""

    token_id: int
    attempts: int
    uploads: list[Upload]
    metadata_cid: str
    tries: dict[str, int] = field(default_factory=dict)  # earlier attempts by kind
    started_at: float = 0.0  # monotonic
    busy: bool = False


class Storage:
    def __init__(self, drain: PipelineDrain) -> None:
        self.drain = drain
        self.client = PinataClient.from_settings()
        self.breaker = Breaker("pinata")
        self.rate = RateLimit(
            "pinata", per_minute=settings.PINATA_REQUESTS_PER_MINUTE, slack_seconds=1
        )
        self.items: dict[int, Item] = {}
        # The second file of each token; the first goes up in the drain's own thread.
        self._pool = ThreadPoolExecutor(settings.UPLOAD_CONCURRENCY, thread_name_prefix="pin")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- claims -------------------------------------------------------------------------

    def add(self, token_id: int, *, image: Captured, metadata: str) -> None:
        """Take over a token that this drain has just generated, lease and bytes included."""
        files = fresh_files(token_id, image=image, metadata=metadata)
        # A kept lease starts the new stage with its first attempt (tokens.transitions.status).
        self.items[token_id] = Item(token_id, 1, files.files, metadata_cid=files.metadata_cid)

    @property
    def is_paused(self) -> bool:
        return self.drain.pauses.is_paused("upload")

    def has_room(self, count: int) -> bool:
        """Tell whether to take over so many tokens: their images are held in memory."""
        works = settings.ENABLE_IPFS_WORKER and not self.is_paused
        most = 2 * int(settings.UPLOAD_CONCURRENCY) if works else 0
        return len(self.items) + count <= most

    def claim(self) -> None:
        """Claim tokens that wait for their upload: those of dead workers and past failures."""
        free = settings.UPLOAD_CONCURRENCY - len(self.items)
        if free <= 0 or self.is_paused or self.breaker.places(1) <= 0:
            return
        limit = 1 if self.breaker.is_open else free
        with transaction.atomic():
            claimed = claim_for_upload(
                owner=self.drain.owner, limit=limit, lease_seconds=settings.LEASE_SECONDS
            )
            loaded = load_files([claim.token_id for claim in claimed])
            self._fail(
                [
                    Failed(claim.token_id, claim.attempts, fault, "storage")
                    for claim in claimed
                    if (fault := _fault_of(claim.attempts, loaded[claim.token_id]))
                ]
            )
        for claim in claimed:
            uploads = loaded[claim.token_id]
            if not _fault_of(claim.attempts, uploads):
                assert uploads is not None
                self.items[claim.token_id] = Item(
                    claim.token_id,
                    claim.attempts,
                    [upload for upload in uploads.files if upload.kind not in uploads.done],
                    metadata_cid=uploads.metadata_cid,
                    tries=uploads.tries,
                )
        if claimed:
            self.drain.note_claim()
        else:
            self.breaker.give_probe_back()

    def start(self) -> None:
        """Start the uploads that have a free place; give back what the breaker keeps waiting."""
        idle = [item for item in self.items.values() if not item.busy]
        if not idle:
            return
        if self.is_paused:
            self._give_back(idle, reason="The upload is paused.")
            return
        busy = len(self.items) - len(idle)
        free = min(len(idle), settings.UPLOAD_CONCURRENCY - busy)
        if self.breaker.is_open:
            free = min(free, int(self.breaker.probing and not busy) or self.breaker.places(1))
            self._give_back(idle[free:], reason=self.breaker.reason)
        admitted = self.rate.take_whole([len(item.uploads) for item in idle[:free]])
        for item in idle[:admitted]:  # the others wait in memory
            item.busy, item.started_at = True, time.monotonic()
            token_id, uploads = item.token_id, item.uploads
            self.drain.submit(
                "pin",
                item,
                lambda token_id=token_id, uploads=uploads: calls.pin_files(
                    self.client, self._pool, token_id=token_id, uploads=uploads
                ),
            )

    def _give_back(self, items: Sequence[Item], *, reason: str) -> None:
        retry_later(
            [
                Retry(
                    token_id=item.token_id,
                    attempts=item.attempts,
                    wait_seconds=1.0,
                    error=reason,
                    error_class="vendor_down",
                    counted=False,
                )
                for item in items
            ],
            owner=self.drain.owner,
        )
        for item in items:
            del self.items[item.token_id]

    # -- results ------------------------------------------------------------------------

    def take(self, results: list[CallResult]) -> None:
        """Save the finished uploads: records, and what becomes of each token."""
        pinned = [r for r in results if r.kind == "pin" and self._is_current(r.key)]
        if not pinned:
            return
        self._note_refusals(pinned)
        faults = {r.key.token_id: _fault_of_call(r) for r in pinned}
        waits = {
            key: self._vendor_waits(fault)
            for key, fault in faults.items()
            if isinstance(fault, ProviderError)
        }
        if len(waits) < len(faults):
            self.breaker.succeeded()
        with transaction.atomic():
            save_records([_record(r.key, each) for r in pinned for each in r.value or ()])
            self._finish([key for key, fault in faults.items() if fault is None])
            self._retry({k: f for k, f in faults.items() if isinstance(f, ProviderError)}, waits)
            self._fail(
                [
                    Failed(key, self.items[key].attempts, fault, "cid_mismatch")
                    for key, fault in faults.items()
                    if isinstance(fault, str)
                ]
            )
        for key in faults:
            del self.items[key]
        self.drain.note_progress()

    def _is_current(self, item: Item) -> bool:
        """Tell whether a result is of the claim that is held now, and not delivered before."""
        return self.items.get(item.token_id) is item

    def _note_refusals(self, results: list[CallResult]) -> None:
        """Tell the rate limit which calls were refused for the rate; the others go on."""
        refused = {
            outcome.error: result.key.started_at
            for result in results
            for outcome in result.value or ()
            if is_for_the_rate(outcome.error)
        }
        if refused:
            error = max(refused, key=lambda error: error.retry_after_seconds or 0.0)
            age = time.monotonic() - min(refused.values())
            self.rate.refused(error, age_seconds=age, calls=len(refused))

    def _vendor_waits(self, error: ProviderError) -> bool:
        if is_for_the_rate(error):
            self.breaker.succeeded()  # as below
            return True
        if isinstance(error, PermanentError) and not isinstance(error, AccountError):
            self.breaker.succeeded()  # it answered: it is up
            return False
        return self.breaker.failed(error)

    def _finish(self, token_ids: list[int]) -> None:
        if not token_ids:
            return
        items = [self.items[token_id] for token_id in token_ids]
        moved = move_tokens(
            [
                Move(
                    token_id=item.token_id,
                    attempts=item.attempts,
                    fields={
                        "metadata_cid": item.metadata_cid,
                        "generation_error": None,
                        "error_class": "",
                    },
                )
                for item in items
            ],
            source=TokenStatus.UPLOADING,
            target=TokenStatus.READY,
            actor=self.drain.owner,
            lease=Lease(self.drain.owner),
        )
        if moved:
            notify(REVEAL_CHANNEL)

    def _retry(self, faults: dict[int, ProviderError], waits: dict[int, bool]) -> None:
        retries = []
        lost = []
        for token_id, error in faults.items():
            item = self.items[token_id]
            if not waits[token_id] and not isinstance(error, TransientError):
                why = f"{error} Mend the cause, then retry: the files are kept."
                lost.append(Failed(token_id, item.attempts, why, error_class_of(error)))
                continue
            at_least = error.retry_after_seconds if isinstance(error, TransientError) else None
            tried = max(item.tries.values(), default=0) + 1
            wait = backoff_seconds(tried, cap=_LONGEST_BACKOFF_SECONDS, at_least=at_least)
            retries.append(
                Retry(
                    token_id=token_id,
                    attempts=item.attempts,
                    wait_seconds=1.0 if waits[token_id] else wait,
                    error=str(error),
                    error_class=error_class_of(error),
                    counted=not waits[token_id],
                )
            )
        retry_later(retries, owner=self.drain.owner)
        self._fail(lost)

    def _fail(self, rows: list[Failed]) -> None:
        fail_tokens(rows, source=TokenStatus.UPLOADING, owner=self.drain.owner)


def _fault_of(attempts: int, files: Files | None) -> str:
    if attempts > MAX_CLAIMS:
        return f"Its worker died {attempts - 1} times: look at the workers' logs, then retry."
    return _MISSING_IMAGE if files is None else ""


def _fault_of_call(result: CallResult) -> ProviderError | str | None:
    if result.error is not None:  # pin_files returns the vendor's faults; this is one of ours
        logger.error("upload_failed", token_id=result.key.token_id, exc_info=result.error)
        return as_provider_error(result.error, vendor="pinata")
    return _fault(result.value, token_id=result.key.token_id)


def _fault(outcomes: list[UploadOutcome], *, token_id: int) -> ProviderError | str | None:
    """Return what is wrong with a token's uploads: a vendor's error, or a text for a hard stop."""
    for outcome in outcomes:
        if outcome.pin is not None and outcome.pin.cid != outcome.upload.cid:
            message = (
                f"Pinata answered {outcome.pin.cid} for the {outcome.upload.kind}, whose CID is "
                f"{outcome.upload.cid}: nothing is revealed. Check the pinned file, then retry."
            )
            logger.critical("cid_mismatch", token_id=token_id, reason=message)
            return message
    return next((outcome.error for outcome in outcomes if outcome.error is not None), None)


def _record(item: Item, outcome: UploadOutcome) -> UploadRecord:
    tries = item.tries.get(outcome.upload.kind, 0)
    return record_of(item.token_id, outcome, attempt_number=tries + 1)

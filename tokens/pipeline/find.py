"""Find paid calls whose reply was lost, before anything is paid again.

job created, and nobody at it → job submitted, or rejected and the token wants an image again

They are looked for in Replicate's listing, within ten minutes of the call. Every input holds a
seed of its own, so an equal input is the same call. The listing's times are the vendor's: where its
Date header shows another time than the database's clock, the window reaches over both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import structlog
from django.db import transaction
from django.db.models.functions import Now

from glisk.breaker import Breaker
from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.clock import ClockReading, database_clock
from glisk.engine.step import Done, Failed
from glisk.errors import (
    NotSentError,
    ProviderError,
    TransientError,
    as_provider_error,
    backoff_seconds,
)
from glisk.timing import timing
from tokens.models import ImageGenerationJob, PromptSample
from tokens.models.job import JobService, JobStatus
from tokens.pipeline import jobs
from tokens.pipeline.failures import Failure, settle_failures
from tokens.pipeline.image_vendors import ImageStep, OpenJobs, PaidCall, Services, until_probe
from tokens.pipeline.poll import get_many, told
from tokens.transitions.claims import JobClaim, claim_jobs, give_back, still_ours

logger = structlog.get_logger(__name__)

_LONGEST_LOOK_SECONDS = 60.0
_MOST_AT_ONCE = 200
WINDOW: Final = timedelta(minutes=10)
# Of 100 predictions: more than the vendor lets anybody make (600 a minute) within a window.
MAX_PAGES = 150


def _made_at(call: PaidCall) -> datetime:
    called_at = call.called_at if isinstance(call, PromptSample) else None
    return called_at or call.created_at


@dataclass(frozen=True)
class Finding:
    """What is known of a call; nothing at all means that it surely never arrived."""

    prediction: Prediction | None = None
    unreadable: str = ""  # the id of a prediction that may be it, and whose input is gone
    open_because: str = ""  # why nothing may be concluded yet


def perhaps_paid(prediction_id: str) -> TransientError:
    """Return why the price of a call stands that is not in the listing."""
    return TransientError(
        f"replicate: the reply was lost, and prediction {prediction_id} of that time may be it: "
        "Replicate has deleted its input. The price stands.",
        vendor="replicate",
        code="perhaps_paid",
    )


@dataclass(frozen=True)
class Lost:
    """Calls whose replies were lost, near each other: one listing serves all."""

    claims: Sequence[JobClaim]
    look: Look


class Find(ImageStep[Lost, "dict[int, Finding]"]):
    most = 1

    def __init__(self, owner: str, open_jobs: OpenJobs, services: Services) -> None:
        super().__init__(owner, open_jobs, services)
        self.listing = self.replicate.listing
        self._told: set[int] = set()  # jobs that the log has complained of

    def places(self) -> int:
        due = self.open_jobs.workable(JobStatus.CREATED, service=JobService.REPLICATE)
        return min(self.free, due)

    def claim(self, limit: int) -> Sequence[Lost]:
        claims = claim_jobs(
            owner=self.owner,
            limit=_MOST_AT_ONCE,
            statuses=[JobStatus.CREATED],
            service=JobService.REPLICATE,
            looked_for=True,
        )
        if not claims:
            return ()
        if not self.listing.places(1):
            self._later(claims, why=self.listing.reason)
            self.has_put_off = True
            return ()
        # The one that has waited longest for its look, and those that the same pages show.
        first = min(claims, key=lambda c: c.job.look_at or c.job.created_at).job.created_at
        near = [c for c in claims if abs(c.job.created_at - first) <= WINDOW]
        give_back([c for c in claims if c not in near], owner=self.owner)
        return [Lost(near, Look.for_calls(self.replicate.client, [c.job for c in near]))]

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.listing,)

    def leased(self, work: Lost) -> Sequence[int]:
        return [claim.token_id for claim in work.claims]

    def call(self, work: Lost) -> dict[int, Finding]:
        return work.look.find()

    def settle(
        self, done: Sequence[Done[Lost, dict[int, Finding]]], failed: Sequence[Failed[Lost]]
    ) -> None:
        self.pause(timing.lookup_again)
        for refused in failed:  # counted against the listing alone: calls and reads go on
            fault = told("reconciliation_failed", refused.error)
            self.listing.failed(fault)
            self._later(refused.work.claims, why=str(fault))
        for each in done:
            self.listing.succeeded()
            for claim in each.work.claims:
                if (prediction := each.value[claim.job.pk].prediction) is not None:
                    jobs.record_prediction(prediction, job_id=claim.job.pk)
                    logger.info(
                        "prediction_found_again", token_id=claim.token_id, job_id=claim.job.pk
                    )
            with transaction.atomic():
                self._decide(still_ours(each.work.claims, owner=self.owner), each.value)

    def _decide(self, claims: Sequence[JobClaim], findings: dict[int, Finding]) -> None:
        # News that came during the call win: only what nothing is known of yet is given up.
        missing = set(
            ImageGenerationJob.objects.select_for_update()
            .filter(pk__in=[claim.job.pk for claim in claims], status=JobStatus.CREATED)
            .values_list("pk", flat=True)
        )
        give_back([c for c in claims if c.job.pk not in missing], owner=self.owner)
        ended = []
        for claim in claims:
            if claim.job.pk not in missing:
                continue
            finding = findings[claim.job.pk]
            if finding.prediction is not None:  # another job has its id
                self._later([claim])
            elif finding.open_because:
                self._later([claim], why=finding.open_because, in_vain=True)
            else:
                ended.append(_ended(claim, finding))
        settle_failures(ended, owner=self.owner)

    @transaction.atomic
    def _later(
        self, claims: Sequence[JobClaim], *, why: str | None = None, in_vain: bool = False
    ) -> None:
        """Look again later, and say in the ledger why nobody knows yet whether it is paid."""
        give_back(claims, owner=self.owner, why=why)
        for claim in claims:
            job, wait = claim.job, until_probe(self.listing, at_least=timing.lookup_again)
            if in_vain:
                cap = _LONGEST_LOOK_SECONDS
                wait = backoff_seconds(job.looks + 1, base=timing.lookup_again, cap=cap)
            jobs.look_again([job], in_seconds=wait, in_vain=in_vain, why=why)
            late = jobs.age_seconds(job.created_at) >= timing.lookup_late_after
            if late and job.pk not in self._told:
                self._told.add(job.pk)
                logger.error(
                    "prediction_not_found_out",
                    token_id=claim.token_id,
                    job_id=job.pk,
                    reason=why,
                )


def _ended(claim: JobClaim, finding: Finding) -> Failure:
    """Return what it means that a call is surely not in the listing, or not readable any more."""
    if finding.unreadable:
        return Failure(claim, claim.job, perhaps_paid(finding.unreadable), JobStatus.FAILED)
    if claim.job.error_class:  # its answer, which came without an id
        answer = jobs.error_of(claim.job)
        return Failure(claim, claim.job, answer, JobStatus.REJECTED)
    never = NotSentError("replicate: the call never arrived", vendor="replicate")
    return Failure(claim, claim.job, never, JobStatus.REJECTED, vendor_waits=True)


def look_for(job: ImageGenerationJob, error: Exception, *, is_down: bool) -> None:
    """Have a call looked for whose reply was lost; its row keeps what it means if none is found."""
    error_class = meant = ""
    if not isinstance(error, ProviderError):
        fault = as_provider_error(error, vendor="replicate")
        error_class, meant = fault.error_class, str(fault)
    elif error.status is not None and not is_down:
        error_class = TransientError.error_class
        meant = f"{error} | The vendor's listing does not show it: nothing was paid."
    ImageGenerationJob.objects.filter(pk=job.pk, status=JobStatus.CREATED).update(
        error_class=error_class,
        error=meant,
        look_at=Now() + timedelta(seconds=timing.lookup_after),
    )


@dataclass
class Look:
    """One look at the listing, for calls that were made within minutes of each other."""

    client: ReplicateClient
    missing: list[PaidCall]
    known_ids: Collection[str]  # the predictions of other calls of ours
    database: ClockReading
    found: dict[int, Prediction] = field(default_factory=dict)
    strangers: dict[str, Prediction] = field(default_factory=dict)  # near, without their input
    seen: int = 0

    @classmethod
    def for_calls(cls, client: ReplicateClient, calls: Sequence[PaidCall]) -> Look:
        known_ids = jobs.external_ids_near(_made_at(calls[0]))
        return cls(client, list(calls), known_ids, database_clock())

    def find(self) -> dict[int, Finding]:
        """Return a finding for each call, by its number. Raises if the listing is refused."""
        is_complete = self.read_listing()
        unread = self.read_strangers()  # whatever the listing left out, it may be among these
        if not is_complete:
            unread = f"Replicate's listing shows more than {self.seen:,} predictions since."
        found = {pk: Finding(prediction=match) for pk, match in self.found.items()}
        for call in self.missing:
            if unread:
                found[call.pk] = Finding(open_because=unread)
            else:
                found[call.pk] = Finding(unreadable=self.unreadable(call))
        return found

    def read_listing(self) -> bool:
        """Page back until all are found; return whether nothing of the window was left out.

        The bound spares the pages of what came later. It is trusted only if the listing goes on
        behind the window: a vendor who misunderstands it might show nothing at all.
        """
        newest = self.client.prediction_pages()
        first = next(newest, [])
        if self._is_enough(first):
            return True
        end = self._window(self.missing)[1]
        if first and all(p.created_at is not None and p.created_at > end for p in first):
            bounded = self.client.prediction_pages(created_before=end)
            if self._read(bounded):
                return True
            if next(bounded, None) is not None:
                return False
        return self._read(newest) or next(newest, None) is None

    def _read(self, pages: Iterator[list[Prediction]]) -> bool:
        return any(self._is_enough(page) for page in islice(pages, MAX_PAGES))

    def _is_enough(self, page: list[Prediction]) -> bool:
        """Take a page in; tell whether all are found, or older pages are of no interest."""
        self.seen += len(page)
        start, end = self._window(self.missing)
        for prediction in page:
            made = prediction.created_at
            if prediction.id not in self.known_ids and (made is None or start <= made <= end):
                self._take(prediction)
        oldest = page[-1].created_at if page else None
        return not self.missing or (oldest is not None and oldest < start)

    def _take(self, prediction: Prediction) -> None:
        if not prediction.input:
            self.strangers[prediction.id] = prediction
            return
        self.strangers.pop(prediction.id, None)
        for call in self.missing:
            # The vendor may add its defaults to what we sent.
            if call.input and call.input.items() <= prediction.input.items():
                self.found[call.pk] = prediction
                self.missing.remove(call)
                return

    def read_strangers(self) -> str:
        """Read those by their ids whose input the listing left out; return why one is unread.

        What stays among the strangers then has lost its input for good.
        """
        hidden = [p.id for p in self.strangers.values() if not p.data_removed]
        if not self.missing:
            return ""
        try:
            read = get_many(self.client, hidden)
        except ProviderError as error:
            return f"A prediction of that time cannot be read now: {error}"
        for prediction in read:
            if prediction.input:
                self._take(prediction)
        unread = len(hidden) - len(read)
        return f"{unread} predictions of that time cannot be read now." if unread else ""

    def unreadable(self, call: PaidCall) -> str:
        """Return the id of a prediction that may be this call and has lost its input."""
        start, end = self._window([call])
        near = (
            p for p in self.strangers.values() if not p.created_at or start <= p.created_at <= end
        )
        return next((p.id for p in near), "")

    def _window(self, calls: Sequence[PaidCall]) -> tuple[datetime, datetime]:
        clock = self.client.clock
        ahead = timedelta(seconds=clock.ahead_of(self.database) if clock else 0.0)
        first, last = min(map(_made_at, calls)), max(map(_made_at, calls))
        return min(first, first + ahead) - WINDOW, max(last, last + ahead) + WINDOW

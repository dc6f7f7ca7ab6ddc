"""Follow the vendor: hear of outcomes, poll, look lost calls up, end what takes too long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from glisk.backoff import backoff_seconds
from glisk.breaker import Breaker
from glisk.clock import boot_seconds, database_clock
from glisk.engine.clock_skew import NOTE_EVERY_SECONDS, ClockSkew, note_clock
from glisk.engine.drain import CallResult
from glisk.errors import NotSentError, ProviderError, as_provider_error
from tokens.models.job import JobStatus
from tokens.pipeline import calls, jobs
from tokens.pipeline.completions import record_prediction
from tokens.pipeline.items import Item, Phase, uses_callbacks
from tokens.pipeline.lost_calls import WINDOW, Finding, LostCall, find_lost, perhaps_paid
from tokens.pipeline.outcomes import Failure
from tokens.transitions.claims import release_claims

if TYPE_CHECKING:
    from tokens.pipeline.generation import Generation

logger = structlog.get_logger(__name__)

POLL_SECONDS = 0.3
POLL_WITH_CALLBACK_SECONDS = 2.0
RECONCILE_SECONDS = 2.0
OVERDUE_SECONDS = 5.0  # an overdue prediction that does not end is canceled again this often
_LONGEST_LOOK_SECONDS = 60.0
# Single reads and the listing may be refused while new calls work, and each without the other.
READS, LISTING = "replicate_reads", "replicate_listing"
# How long a call of unknown outcome may take to show up in the vendor's listing, from when it was
# made, and from when its reply was lost: time-outs and gateways take half a minute themselves.
SETTLE_SECONDS = 15.0


class Follower:
    """The part of the generation that waits for others; the items are the generation's."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.drain = generation.drain
        self.client = generation.client
        self.reads, self.listing = Breaker(READS), Breaker(LISTING)
        self._polled_at = 0.0
        self._polling = False
        self._reconciled_at = 0.0
        self._clock_noted_at = -NOTE_EVERY_SECONDS
        self._reconciling = False

    @property
    def waiting(self) -> int:
        """How many predictions are under way at the vendor."""
        return len(self._waiting(Phase.WAITING))

    @property
    def most_new_calls(self) -> int | None:
        """How many new calls are worth paying for at Replicate; None for any number.

        None is paid for while nobody can read how those under way end, and one if only that can
        tell whether it can be read again.
        """
        if uses_callbacks() or not self.reads.is_open:
            return None
        return 0 if self.waiting else self.reads.places(1)

    def take(self, result: CallResult) -> None:
        """Save one finished call, if it is one of these."""
        if result.kind == "poll":
            self._polled(result)
        elif result.kind == "reconcile":
            self._reconciled(result)
        elif result.kind == "overdue":
            self._ended(result)

    def follow(self) -> None:
        """Look for outcomes that the webhook brought; poll, reconcile and end what is due."""
        self._note_clock()
        waiting = {item.job.pk: item for item in self._waiting(Phase.WAITING)}
        reconciling = {item.job.pk: item for item in self._waiting(Phase.RECONCILING)}
        items = {**waiting, **reconciling}
        if not items:
            return
        failures = []
        for job in jobs.take_news(
            waiting={pk: item.job for pk, item in waiting.items()},
            reconciling={pk: item.job for pk, item in reconciling.items()},
        ):
            item = items[job.pk]
            if job.status == JobStatus.SUBMITTED:
                item.phase = Phase.WAITING
            elif job.status == JobStatus.SUCCEEDED:
                self.generation.capture(item)
            elif job.status == JobStatus.ERRORED:
                failures.append(Failure(item, jobs.error_of(job), JobStatus.FAILED))
            else:
                self._drop(item)
        self.generation.settle(failures)
        self._end_overdue()
        self._poll()
        self._reconcile()

    def _note_clock(self) -> None:
        """Tell operators now and then if Replicate's clock is not the database's."""
        now, shown = boot_seconds(), self.client.clock
        if now - self._clock_noted_at < NOTE_EVERY_SECONDS:
            return
        if shown is not None and shown.read_at > self._clock_noted_at:
            self._clock_noted_at = now
            note_clock(ClockSkew("Replicate", shown.ahead_of(database_clock())))

    def _drop(self, item: Item) -> None:
        """Stop working on a token whose job somebody else has closed."""
        logger.info("stale_claim", token_id=item.token_id)
        release_claims(owner=self.drain.owner, token_ids=[item.token_id])
        del self.generation.items[item.token_id]

    def _waiting(self, phase: Phase) -> list[Item]:
        return [i for i in self.generation.items.values() if i.phase is phase and not i.busy]

    def _poll(self) -> None:
        now = time.monotonic()
        patience = _poll_seconds()
        if self._polling or self.drain.stopping or now - self._polled_at < patience:
            return
        waiting = [i for i in self._waiting(Phase.WAITING) if now - i.waiting_since >= patience]
        if not waiting or not self.reads.places(1):
            return
        ids = [item.job.external_id or "" for item in waiting]
        listed_since = None
        # Few need no listing; but if it was refused, they find out whether that is over.
        if self.listing.places(1) and (len(ids) > calls.FEW or self.listing.is_open):
            listed_since = min(item.job.created_at for item in waiting) - WINDOW
        self._polling, self._polled_at = True, time.monotonic()
        self.drain.submit(
            "poll",
            listed_since is not None,
            lambda: calls.poll_predictions(
                self.client, external_ids=ids, listed_since=listed_since
            ),
        )

    def _polled(self, result: CallResult) -> None:
        if result.error is None:
            for prediction in result.value.predictions:
                if prediction.is_terminal:
                    record_prediction(prediction)
            self.reads.succeeded()
            if result.value.refusal is not None:
                self._listing_failed(result.value.refusal)
            elif result.key:
                self.listing.succeeded()
        else:
            self.reads.failed(_told("poll_failed", result.error))
        self._polling, self._polled_at = False, time.monotonic()

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for item in self._waiting(Phase.WAITING):
            started = item.job.submitted_at or item.job.created_at
            if jobs.age_seconds(started) < settings.GENERATION_TIMEOUT_SECONDS:
                continue
            if self.drain.stopping or now < item.cancel_again_at:
                continue
            item.busy, item.cancel_again_at = True, now + OVERDUE_SECONDS
            external_id = item.job.external_id or ""
            self.drain.submit(
                "overdue",
                item.key,
                lambda external_id=external_id: calls.end_overdue(
                    self.client, external_id=external_id
                ),
            )

    def _ended(self, result: CallResult) -> None:
        item = self.generation.held(result.key, Phase.WAITING)
        if result.error is None:
            record_prediction(result.value)
        else:
            _told("cancel_failed", result.error)
            if item is not None:
                asked = getattr(result.error, "retry_after_seconds", None) or 0.0
                item.cancel_again_at = max(item.cancel_again_at, time.monotonic() + asked)
        if item is not None:
            item.busy = False

    def look_up(self, item: Item) -> None:
        """Look for a call whose reply was lost just now: it may have been accepted just now."""
        item.phase, item.busy = Phase.RECONCILING, False
        item.lost_at = time.monotonic()

    def _reconcile(self) -> None:
        now = time.monotonic()
        if self._reconciling or self.drain.stopping:
            return
        due = [item for item in self._waiting(Phase.RECONCILING) if self._look_in(item) <= 0]
        if not due or now - self._reconciled_at < RECONCILE_SECONDS:
            return
        if not self.listing.places(1):
            for item in due:
                self._note_open(item, self.listing.reason)
            return
        # The one that has waited longest for its look, and those that the same pages show.
        first = min(due, key=lambda item: item.look_again_at)
        near = [i for i in due if abs(i.job.created_at - first.job.created_at) <= WINDOW]
        wanted = [LostCall(i.job.pk, i.job.input, i.job.created_at) for i in near]
        known = jobs.external_ids_near(first.job.created_at)
        database = database_clock()
        self._reconciling = True
        self.drain.submit(
            "reconcile",
            [item.key for item in near],
            lambda: find_lost(self.client, wanted=wanted, known_ids=known, database=database),
        )

    @staticmethod
    def _look_in(item: Item) -> float:
        """Return the seconds until a call is worth looking for (again)."""
        age = jobs.age_seconds(item.job.created_at)
        if item.lost_at is not None:
            age = min(age, time.monotonic() - item.lost_at)
        settled_in = SETTLE_SECONDS - age
        return max(settled_in, item.look_again_at - time.monotonic())

    def _reconciled(self, result: CallResult) -> None:
        if result.error is not None:
            fault = self._listing_failed(result.error)
            for key in result.key:
                if (item := self.generation.held(key, Phase.RECONCILING)) is not None:
                    self._note_open(item, str(fault))
            self._reconciling, self._reconciled_at = False, time.monotonic()
            return
        self.listing.succeeded()
        ended = []
        for key in result.key:
            item = self.generation.held(key, Phase.RECONCILING)
            if item is None or item.job.pk not in result.value:
                continue  # settled by other news meanwhile
            finding: Finding = result.value[item.job.pk]
            if finding.prediction is not None:
                record_prediction(finding.prediction, job_id=item.job.pk)
                logger.info("prediction_found_again", token_id=item.token_id, job_id=item.job.pk)
            elif finding.open_because:
                item.looks += 1
                wait = backoff_seconds(
                    item.looks, base=RECONCILE_SECONDS, cap=_LONGEST_LOOK_SECONDS
                )
                item.look_again_at = time.monotonic() + wait
                self._note_open(item, finding.open_because)
            elif finding.unreadable:
                ended.append(Failure(item, perhaps_paid(finding.unreadable), JobStatus.FAILED))
            else:
                never = NotSentError("replicate: the call never arrived", vendor="replicate")
                ended.append(
                    Failure(
                        item,
                        item.fault or never,
                        JobStatus.REJECTED,
                        vendor_waits=item.fault is None,
                    )
                )
        self.generation.settle(ended)
        self._reconciling, self._reconciled_at = False, time.monotonic()

    def _note_open(self, item: Item, why: str) -> None:
        """Write into the ledger why nobody knows yet whether a call is paid."""
        if item.job.error != why:
            jobs.note_open(item.job, why, owner=self.drain.owner)
        if not item.told and jobs.age_seconds(item.job.created_at) >= jobs.LOOKUP_SECONDS:
            item.told = True
            logger.error(
                "prediction_not_found_out", token_id=item.token_id, job_id=item.job.pk, reason=why
            )

    def _listing_failed(self, error: Exception) -> ProviderError:
        """Count it against the listing alone: calls and single reads go on."""
        fault = _told("reconciliation_failed", error)
        self.listing.failed(fault)
        return fault

    def next_turn_seconds(self) -> float | None:
        """Return when the vendor has to be asked next, or None if nothing waits for it."""
        if self.drain.stopping:
            return None
        looks = [self._look_in(item) for item in self._waiting(Phase.RECONCILING)]
        if looks and not self._reconciling:
            return max(0.5, min(looks), self.listing.seconds_until_probe or 0.0)
        waiting = self._waiting(Phase.WAITING)
        if not waiting or self._polling:
            return None
        first = min(item.waiting_since for item in waiting) + _poll_seconds()
        due = max(first, self._polled_at + _poll_seconds()) - time.monotonic()
        return max(0.01, due, self.reads.seconds_until_probe or 0.0)


def _told(event: str, error: Exception) -> ProviderError:
    """Log why something could not be read."""
    fault = as_provider_error(error, vendor="replicate")
    logger.warning(event, error=str(fault), exc_info=error if fault is not error else None)
    return fault


def _poll_seconds() -> float:
    return POLL_WITH_CALLBACK_SECONDS if uses_callbacks() else POLL_SECONDS

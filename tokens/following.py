"""Follow the vendor: hear of outcomes, poll, look lost calls up, end what takes too long."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from glisk.backoff import backoff_seconds
from glisk.clients.replicate import Prediction
from glisk.engine.drain import CallResult
from glisk.errors import NotSentError, as_provider_error
from tokens import calls, jobs
from tokens.claims import release_claims
from tokens.completions import record_prediction
from tokens.items import Item, Phase, uses_callbacks
from tokens.models.job import JobStatus
from tokens.outcomes import Failure

if TYPE_CHECKING:
    from tokens.generation import Generation

logger = structlog.get_logger(__name__)

POLL_SECONDS = 0.3
POLL_WITH_CALLBACK_SECONDS = 2.0
RECONCILE_SECONDS = 2.0
OVERDUE_SECONDS = 5.0  # an overdue prediction that does not end is canceled again this often
_LONGEST_POLL_SECONDS = 10.0
# How long a call of unknown outcome may take to show up in the vendor's listing.
SETTLE_SECONDS = 15.0


class Follower:
    """The part of the generation that waits for others; the items are the generation's."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.drain = generation.drain
        self.client = generation.client
        self.breaker = generation.services.replicate.admission.breaker
        self._polled_at = 0.0
        self._polling = False
        self._poll_wait = _poll_seconds()
        self._poll_failures = 0
        self._reconciled_at = 0.0
        self._reconciling = False

    @property
    def waiting(self) -> int:
        """How many predictions are under way at the vendor."""
        return len(self._waiting(Phase.WAITING))

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

    def _drop(self, item: Item) -> None:
        """Stop working on a token whose job somebody else has closed."""
        logger.info("stale_claim", token_id=item.token_id)
        release_claims(owner=self.drain.owner, token_ids=[item.token_id])
        del self.generation.items[item.token_id]

    def _waiting(self, phase: Phase) -> list[Item]:
        return [i for i in self.generation.items.values() if i.phase is phase and not i.busy]

    def _poll(self) -> None:
        now = time.monotonic()
        if self._polling or self.drain.stopping or now - self._polled_at < self._poll_wait:
            return
        patience = _poll_seconds()
        waiting = [i for i in self._waiting(Phase.WAITING) if now - i.waiting_since >= patience]
        if not waiting:
            return
        ids = [item.job.external_id or "" for item in waiting]
        created_after = min(item.job.created_at for item in waiting) - timedelta(minutes=1)
        self._polling, self._polled_at = True, time.monotonic()
        self.drain.submit(
            "poll",
            None,
            lambda: calls.poll_predictions(
                self.client, external_ids=ids, created_after=created_after
            ),
        )

    def _polled(self, result: CallResult) -> None:
        if result.error is None:
            for prediction in result.value:
                if prediction.is_terminal:
                    record_prediction(prediction)
            self._poll_failures, self._poll_wait = 0, _poll_seconds()
            if not self.breaker.is_open:  # an account may be allowed to read, but not to create
                self.breaker.succeeded()
        else:
            self._poll_failures += 1
            self._poll_wait = backoff_seconds(
                self._poll_failures,
                base=_poll_seconds(),
                cap=_LONGEST_POLL_SECONDS,
                at_least=getattr(result.error, "retry_after_seconds", None),
            )
            self._read_failed("poll_failed", result.error, counts=not self.breaker.is_open)
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
            self._read_failed("cancel_failed", result.error, counts=not self.breaker.is_open)
        if item is not None:
            item.busy = False

    def _reconcile(self) -> None:
        due = [
            item
            for item in self._waiting(Phase.RECONCILING)
            if jobs.age_seconds(item.job.created_at) >= SETTLE_SECONDS
        ]
        if not due or self._reconciling or self.drain.stopping:
            return
        if time.monotonic() - self._reconciled_at < RECONCILE_SECONDS:
            return
        if not self.breaker.places(1):
            return
        created_after = min(item.job.created_at for item in due) - timedelta(minutes=1)
        known = jobs.external_ids_since(created_after)
        wanted = [(item.job.pk, item.job.input) for item in due]
        self._reconciling = True
        self.drain.submit(
            "reconcile",
            [item.key for item in due],
            lambda: calls.find_lost(
                self.client, wanted=wanted, known_ids=known, created_after=created_after
            ),
        )

    def _reconciled(self, result: CallResult) -> None:
        if result.error is not None:
            self._read_failed("reconciliation_failed", result.error, counts=True)
            self._reconciling, self._reconciled_at = False, time.monotonic()
            return
        self.breaker.succeeded()
        missing = []
        for key in result.key:
            item = self.generation.held(key, Phase.RECONCILING)
            if item is None or item.job.pk not in result.value:
                continue  # settled by other news meanwhile, or nothing may be concluded
            prediction: Prediction | None = result.value[item.job.pk]
            if prediction is not None:
                record_prediction(prediction, job_id=item.job.pk)
                logger.info("prediction_found_again", token_id=item.token_id, job_id=item.job.pk)
            else:
                never = NotSentError("replicate: the call never arrived", vendor="replicate")
                missing.append(
                    Failure(
                        item,
                        item.fault or never,
                        JobStatus.REJECTED,
                        vendor_waits=item.fault is None,
                    )
                )
        self.generation.settle(missing)
        self._reconciling, self._reconciled_at = False, time.monotonic()

    def _read_failed(self, event: str, error: Exception, *, counts: bool) -> None:
        fault = as_provider_error(error, vendor="replicate")
        unexpected = error if fault is not error else None
        logger.warning(event, error=str(fault), exc_info=unexpected)
        if counts:
            self.breaker.failed(fault)

    def next_turn_seconds(self) -> float | None:
        """Return when the vendor has to be asked next, or None if nothing waits for it."""
        if self.drain.stopping:
            return None
        if self._waiting(Phase.RECONCILING):
            return 0.5
        waiting = self._waiting(Phase.WAITING)
        if not waiting or self._polling:
            return None
        first = min(item.waiting_since for item in waiting) + _poll_seconds()
        return max(0.01, max(first, self._polled_at + self._poll_wait) - time.monotonic())


def _poll_seconds() -> float:
    return POLL_WITH_CALLBACK_SECONDS if uses_callbacks() else POLL_SECONDS

"""The artefacts of ready tokens: checked some at a time, ahead of the batches that need them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from glisk.backoff import backoff_seconds
from glisk.breaker import Breaker
from glisk.clients.gateway import GatewayClient
from glisk.engine.drain import CallResult
from glisk.errors import (
    AccountError,
    ProviderError,
    TransientError,
    as_provider_error,
    error_class_of,
)
from reveals import gate
from reveals.candidates import ALARM_AFTER_REFUSALS, Waiting, forget_refusals, set_aside
from reveals.gate import Candidate, Objection

if TYPE_CHECKING:
    from reveals.drain import RevealDrain

logger = structlog.get_logger(__name__)

CONCURRENCY = 16
# A token whose artefacts a gateway does not serve is looked at again this often at least.
LONGEST_WAIT_SECONDS = 120.0
# A batch waits so long for tokens whose artefacts are being checked just now.
FILLING_SECONDS = 1.0


class Verifier:
    """What was verified is kept in memory: after a crash it is verified again."""

    def __init__(self, drain: RevealDrain) -> None:
        self.drain = drain
        self.gateway = GatewayClient.from_settings()
        self.breaker = Breaker("gateway")
        self._verified: dict[int, Candidate] = {}
        self._under_way: dict[int, Waiting] = {}
        self._verified_at: dict[int, float] = {}  # monotonic

    @property
    def is_busy(self) -> bool:
        return bool(self._under_way)

    def is_checking(self, candidate: Candidate) -> bool:
        return candidate.token_id in self._under_way

    def has_verified(self, candidate: Candidate) -> bool:
        """Tell whether the artefacts of just this token, as it is now, were found right."""
        return self._verified.get(candidate.token_id) == candidate

    def filling_seconds(self, verified: Sequence[Waiting]) -> float:
        """Return how much longer these should wait for those that are being checked."""
        times = (self._verified_at.get(entry.candidate.token_id) for entry in verified)
        first = min((at for at in times if at is not None), default=None)
        if first is None or not self.is_busy:
            return 0.0
        return max(0.0, first + FILLING_SECONDS - time.monotonic())

    def check(self, waiting: Sequence[Waiting]) -> None:
        """Check the artefacts of tokens that were not checked yet; forget those that are gone."""
        ids = {entry.candidate.token_id for entry in waiting}
        self._verified = {key: c for key, c in self._verified.items() if key in ids}
        self._verified_at = {key: at for key, at in self._verified_at.items() if key in ids}
        for entry in waiting:
            candidate = entry.candidate
            if self.has_verified(candidate) or candidate.token_id in self._under_way:
                continue
            if len(self._under_way) >= CONCURRENCY or not self.breaker.places(1):
                return
            self._under_way[candidate.token_id] = entry
            self.drain.submit(
                "verify",
                candidate.token_id,
                lambda candidate=candidate: gate.check_artefacts(self.gateway, candidate),
            )

    def take(self, results: Sequence[CallResult]) -> None:
        refused, forgiven = [], []
        for result in results:
            entry = self._under_way.get(result.key)
            if entry is None:
                continue
            if result.error is None:
                self._verified[result.key] = entry.candidate
                self._verified_at[result.key] = time.monotonic()
                self.breaker.succeeded()
                if entry.refusals:
                    forgiven.append(result.key)
            else:
                fault = as_provider_error(result.error, vendor="gateway")
                if fault is not result.error:
                    logger.error("artefact_check_failed", exc_info=result.error)
                refused.append(self._objection(entry, fault))
        set_aside(refused, actor=self.drain.owner)
        forget_refusals(forgiven)
        for result in results:
            self._under_way.pop(result.key, None)

    def _objection(self, entry: Waiting, error: ProviderError) -> Objection:
        """Late and wrong bytes wait, longer each time; what the CID proves wrong is final."""
        down = isinstance(error, AccountError | TransientError) and _is_outage(error)
        if down:
            self.breaker.failed(error)
        else:
            self.breaker.succeeded()
        return Objection(
            entry.candidate.token_id,
            str(error),
            error_class_of(error),
            final=gate.is_final(error),
            wait_seconds=backoff_seconds(entry.refusals + 1, cap=LONGEST_WAIT_SECONDS),
            counted=not down,
            alarming=entry.refusals >= ALARM_AFTER_REFUSALS,
        )


def _is_outage(error: ProviderError) -> bool:
    """Tell a gateway that is down from one that does not have this file yet."""
    return error.status not in (403, 404, 410)

"""Verify: the files of ready tokens are fetched by their CIDs, before a batch needs them.

claims   ready tokens whose files were not found right lately
calls    the gateway, and hashes what it serves
settles  verified; or set aside, longer each time
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from glisk.breaker import Breaker
from glisk.clients.ipfs import GatewayClient
from glisk.engine.step import Done, Failed
from glisk.errors import (
    AccountError,
    TransientError,
    as_provider_error,
    backoff_seconds,
    error_class_of,
)
from reveals import gate
from reveals.gate import (
    ALARM_AFTER_REFUSALS,
    WOULD_REVERT,
    Waiting,
    note_verified,
    set_aside,
)
from reveals.outbox import RevealStep, Shared
from tokens.transitions.claims import Refusal, forget_refusals

logger = structlog.get_logger(__name__)

CONCURRENCY = 16
# A token whose files a gateway does not serve is looked at again this often at least.
LONGEST_WAIT_SECONDS = 120.0


class Verify(RevealStep[Waiting, None]):
    most = CONCURRENCY

    def __init__(self, owner: str, shared: Shared) -> None:
        super().__init__(owner, shared)
        self.gateway = GatewayClient.from_settings()
        self.breaker = Breaker("gateway")

    @property
    def checking(self) -> set[int]:
        """The tokens that are being checked, or will be as soon as there is a place."""
        now = {entry.candidate.token_id for entry in self.under_way}
        return now if self.breaker.is_open else now.union(self._unverified())

    def _unverified(self) -> dict[int, Waiting]:
        waiting = self.shared.ready.waiting
        return {e.candidate.token_id: e for e in waiting if e.verified_at is None}

    def due_in(self) -> float | None:
        # A probe that is due already was not wanted now: then the idle tick will do.
        waits = (self.shared.ready.due_in, self.breaker.seconds_until_probe or None)
        return min((wait for wait in waits if wait is not None), default=None)

    def claim(self, limit: int) -> Sequence[Waiting]:
        now = {entry.candidate.token_id for entry in self.under_way}
        found = [entry for token_id, entry in self._unverified().items() if token_id not in now]
        return found[: self.breaker.places(min(limit, len(found)))]

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.breaker,)

    def call(self, work: Waiting) -> None:
        gate.check_artefacts(self.gateway, work.candidate)

    def settle(
        self, done: Sequence[Done[Waiting, None]], failed: Sequence[Failed[Waiting]]
    ) -> None:
        found = [each.work.candidate for each in done]
        if found:
            self.breaker.succeeded()
            note_verified(found)
            # Those by a simulation stay counted: right artefacts say nothing about them.
            forget_refusals([c.token_id for c in found if c.refusals], but=WOULD_REVERT)
        refusals = [self._refusal(each.work.candidate, each.error) for each in failed]
        set_aside(refusals, actor=self.owner)

    def _refusal(self, candidate: gate.Candidate, error: Exception) -> Refusal:
        """Late and wrong bytes wait, longer each time; what the CID proves wrong is final."""
        fault = as_provider_error(error, vendor="gateway")
        if fault is not error:
            logger.error("artefact_check_failed", exc_info=error)
        # A gateway that is down, and not one that does not have this file yet.
        down = isinstance(fault, AccountError | TransientError) and (
            fault.status not in (403, 404, 410)
        )
        if down:
            self.breaker.failed(fault)
        else:
            self.breaker.succeeded()
        return Refusal(
            candidate.token_id,
            str(fault),
            error_class_of(fault),
            final=gate.is_final(fault),
            wait_seconds=backoff_seconds(candidate.refusals + 1, cap=LONGEST_WAIT_SECONDS),
            counted=not down,
            alarming=candidate.refusals >= ALARM_AFTER_REFUSALS,
        )

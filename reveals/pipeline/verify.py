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
from glisk.errors import AccountError, TransientError, as_provider_error, backoff_seconds
from reveals import gate
from reveals.gate import Candidate
from reveals.outbox import RevealStep, Shared
from tokens.transitions.claims import Refusal, forget_refusals

logger = structlog.get_logger(__name__)

CONCURRENCY = 16
# A token that was refused this often is worth an operator's look: the log says so, at each try.
ALARM_AFTER_REFUSALS = 8


class Verify(RevealStep[Candidate, None]):
    most = CONCURRENCY

    def __init__(self, owner: str, shared: Shared) -> None:
        super().__init__(owner, shared)
        self.gateway = GatewayClient()
        self.breaker = Breaker("gateway")

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.breaker,)

    @property
    def checking(self) -> set[int]:
        """The tokens that are being checked, or will be as soon as there is a place."""
        now = {candidate.token_id for candidate in self.under_way}
        if self.breaker.is_open:
            return now
        return now | {c.token_id for c in self.shared.ready.waiting if c.verified_at is None}

    def due_in(self) -> float | None:
        # A probe that is due already was not wanted now: then the idle tick will do.
        waits = (self.shared.ready.due_in, self.breaker.seconds_until_probe or None)
        return min((wait for wait in waits if wait is not None), default=None)

    def claim(self, limit: int) -> Sequence[Candidate]:
        now = {candidate.token_id for candidate in self.under_way}
        waiting = self.shared.ready.waiting
        found = [c for c in waiting if c.verified_at is None and c.token_id not in now]
        return found[: self.breaker.places(min(limit, len(found)))]

    def call(self, work: Candidate) -> None:
        gate.check_artefacts(self.gateway, work)

    def settle(
        self, done: Sequence[Done[Candidate, None]], failed: Sequence[Failed[Candidate]]
    ) -> None:
        found = [each.work for each in done]
        if found:
            self.breaker.succeeded()
            gate.note_verified(found)
            # Those by a simulation stay counted: right artefacts say nothing about them.
            forget_refusals([c.token_id for c in found if c.refusals], but=gate.WOULD_REVERT)
        refusals = [self._refusal(each.work, each.error) for each in failed]
        gate.set_aside(refusals, actor=self.owner)

    def _refusal(self, candidate: Candidate, error: Exception) -> Refusal:
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
            fault.error_class,
            final=gate.is_final(fault),
            wait_seconds=backoff_seconds(candidate.refusals + 1, cap=120.0),
            counted=not down,
            alarming=candidate.refusals >= ALARM_AFTER_REFUSALS,
        )

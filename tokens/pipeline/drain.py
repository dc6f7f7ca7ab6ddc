"""The resident drain that moves tokens from detected to ready.

One turn saves what the vendors answered, looks for news, claims what there is room for, and
renews the leases. All database work happens here, in the drain's main thread; the calls run in
its thread pool.
"""

import time

from django.conf import settings

from glisk.engine.drain import CallResult, Drain
from glisk.engine.memory import keep_freed_memory
from glisk.pauses import Pauses
from tokens.pipeline.generation import Generation
from tokens.pipeline.samples import Samples
from tokens.pipeline.storage import Storage
from tokens.transitions import PIPELINE_CHANNEL, claims

# An operator may have closed a breaker that had long to wait.
RESET_SECONDS = 5.0


_LONGEST_GATHERING_SECONDS = 0.04
_MANY = 5  # tokens, from which on a turn leaves out what is rare
_LOOK_SECONDS = 0.25
_SAMPLE_SECONDS = 1.0  # until another look, should no call of a sample end before


class PipelineDrain(Drain):
    stage = "pipeline"
    one_per_worker = True
    channels = (PIPELINE_CHANNEL,)
    # Neither keeps a generation's place.
    patient = frozenset({"capture", "pin"})

    pauses: Pauses
    generation: Generation
    storage: Storage
    samples: Samples

    @property
    def threads(self) -> int:
        """One for each call with a vendor, and some for captures, polls and reconciliations."""
        return 2 * int(settings.WORKER_BATCH_SIZE) + int(settings.UPLOAD_CONCURRENCY) + 4

    @property
    def longest_freeze_seconds(self) -> float:
        """With `calls.paid_call_seconds`, 3/4 of a lease: then nobody else has the token yet."""
        return float(settings.LEASE_SECONDS) / 2

    @property
    def gather_seconds(self) -> float:
        """A turn costs 3 ms and more of CPU, however little it finds: with many tokens, fewer.

        With 20 at once whole groups halve the statements and the CPU per token.
        """
        return min(_LONGEST_GATHERING_SECONDS, 0.0025 * (self._held - 1)) if self._held else 0.0

    @property
    def awaited_notifications(self) -> int:
        """Each callback sends one, so a group is whole when all that is waited for has come."""
        return self.generation.follower.waiting

    @property
    def _held(self) -> int:
        return len(self.generation.items) + len(self.storage.items)

    def prepare(self) -> None:
        keep_freed_memory()
        self.heartbeat.stage = _switched_on()
        self.pauses = Pauses()
        self.generation = Generation(self)
        self.storage = Storage(self)
        self.samples = Samples(self)
        self._sample_due_in: float | None = None
        self._renewed_at = time.monotonic()
        self._looked_at = 0.0
        self._due_in: float | None = None

    def turn(self, results: list[CallResult]) -> float | None:
        self.generation.take(results)
        self.storage.take(results)
        self.samples.take(results)
        self.generation.follower.follow()
        if not self.stopping:
            looks = self._looks_around()
            if settings.ENABLE_IMAGE_WORKER:
                self.generation.claim()
                if looks and self._sample_due_in == 0:
                    self.samples.start()
                    self._sample_due_in = _SAMPLE_SECONDS
            if settings.ENABLE_IPFS_WORKER and looks:
                self.storage.claim()
            self.storage.start()
        self._renew_leases()
        return self._next_turn_seconds()

    def _looks_around(self) -> bool:
        """Tell whether to ask for retries and for uploads of others: under load not every turn.

        They are rare then, and asking takes half of the statements of a turn.
        """
        now = time.monotonic()
        left = self._looked_at + _LOOK_SECONDS - now
        if self._held >= _MANY and left > 0:
            self._due_in = left
            return False
        # Before the claims: what falls due while they run must not be overlooked.
        self._looked_at = now
        self._due_in, self._sample_due_in = claims.seconds_until_due()
        if not settings.ENABLE_IMAGE_WORKER:
            self._sample_due_in = None  # it would be due at every turn
        return True

    def _renew_leases(self) -> None:
        held = [*self.generation.items, *self.storage.items]
        if held and time.monotonic() - self._renewed_at >= settings.LEASE_SECONDS / 3:
            claims.renew_leases(
                owner=self.owner, token_ids=held, lease_seconds=settings.LEASE_SECONDS
            )
            self._renewed_at = time.monotonic()

    def _next_turn_seconds(self) -> float | None:
        """Return when to look again; NOTIFY and finished calls come sooner by themselves."""
        soon = [self.generation.follower.next_turn_seconds()]
        if not self.stopping:
            soon += [self._due_in, self._sample_due_in]
            # A probe that is due already was not wanted now: then the idle tick will do.
            services = self.generation.services
            breakers = [*(s.admission.breaker for s in services.all), self.storage.breaker]
            soon += [breaker.seconds_until_probe or None for breaker in breakers]
            soon.append(services.seconds_until_open)
            if any(breaker.is_open for breaker in breakers):
                soon.append(RESET_SECONDS)
            soon.append(self.storage.rate.seconds_until_free or None)
        if self.generation.items or self.storage.items:
            soon.append(settings.LEASE_SECONDS / 3)
        known = [max(0.05, seconds) for seconds in soon if seconds is not None]
        return min(known, default=None)

    def release(self) -> None:
        """Give back what no call is under way for; stored ids let the next worker go on."""
        idle = [
            *(i.token_id for i in self.generation.items.values() if not i.busy),
            *(i.token_id for i in self.storage.items.values() if not i.busy),
        ]
        claims.release_claims(owner=self.owner, token_ids=idle)
        for token_id in idle:
            self.generation.items.pop(token_id, None)
            self.storage.items.pop(token_id, None)

    def close(self) -> None:
        if hasattr(self, "storage"):
            self.generation.close()
            self.storage.close()
        super().close()


def _switched_on() -> str:
    """Return how the heartbeat names what is done here: operators are told what nobody does."""
    if settings.ENABLE_IMAGE_WORKER and settings.ENABLE_IPFS_WORKER:
        return PipelineDrain.stage
    if settings.ENABLE_IMAGE_WORKER:
        return "generation"
    return "upload" if settings.ENABLE_IPFS_WORKER else "nothing"

"""How many paid calls may start now: the vendor's breaker, places, the daily cap, the rate limit.

Asked in two steps. `offer` is cheap and comes before tokens are claimed; `admit` is binding and
runs in the transaction that writes the calls' job rows. Tokens that are not admitted wait without
losing an attempt; what is paid for already goes on whatever this says.

The places are those of all workers, counted in the rows of the jobs under way: WORKER_BATCH_SIZE
is the places of one worker, and more workers are more places. A drain that hands over, or a worker
that died, leaves its predictions under way, so they are counted where they stand.
"""

from __future__ import annotations

import time
from zlib import crc32

import structlog
from django.db import connection

from glisk.breaker import Breaker
from glisk.errors import ProviderError, is_for_the_rate
from glisk.rate_limit import RateLimit
from tokens.models.job import JobService
from tokens.pipeline.jobs import UNDER_WAY, WORKERS, OpenJobs, places_of, survey_parameters
from tokens.pipeline.spend import allowed_by_cap, cap_reason, price_of, seconds_until_midnight

logger = structlog.get_logger(__name__)

_PLACES_LOCK = crc32(b"glisk:places")
_PLACES_RECHECK_SECONDS = 0.25  # nothing tells when a call of another process ends
_CAP_RECHECK_SECONDS = 30.0  # calls that the vendor refused after all make room again


def free_places(service: JobService, *, most: int | None) -> int:
    """Return how many calls of a service may begin; until the transaction ends, nobody else asks.

    `most` is how many the service makes at once; None: as many as the workers have places.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PLACES_LOCK])
        cursor.execute(
            f"SELECT ({WORKERS}), (SELECT count(*) "  # noqa: S608 - constants
            "FROM image_generation_jobs j JOIN tokens_s0 t USING (token_id) "
            f"WHERE j.service = %(service)s AND t.status = 'generating' AND {UNDER_WAY})",
            {"service": service, **survey_parameters()},
        )
        workers, under_way = cursor.fetchone()
    return (places_of(workers) if most is None else most) - int(under_way)


class Admission:
    """One drain's gate to one service that makes images."""

    def __init__(
        self,
        service: JobService,
        breaker: Breaker,
        rate: RateLimit | None,
        *,
        most_at_once: int | None = None,
    ) -> None:
        """`most_at_once`: calls under way of all workers together; None: the workers' places."""
        self.service = service
        self.breaker = breaker
        self.rate = rate
        self.most_at_once = most_at_once
        self._full_until = 0.0
        self._capped_until = 0.0

    @property
    def seconds_until_open(self) -> float | None:
        """Return when a refused call is worth trying again; None if nothing is refused."""
        now = time.monotonic()
        waits = [self._capped_until - now, self._full_until - now]
        if self.rate is not None:
            waits.append(self.rate.seconds_until_free)
        return max((wait for wait in waits if wait > 0), default=None)

    def offer(self, wanted: int, open_jobs: OpenJobs) -> int:
        """Return how many new calls are worth claiming tokens for."""
        if self.seconds_until_open:
            return 0
        most = open_jobs.places if self.most_at_once is None else self.most_at_once
        return self.breaker.places(min(wanted, most - open_jobs.under_way(self.service)))

    def admit(self, wanted: int, model: str) -> int:
        """Take the places of calls that start when this transaction is committed."""
        free = free_places(self.service, most=self.most_at_once)
        if free < wanted:
            self._full_until = time.monotonic() + _PLACES_RECHECK_SECONDS
            wanted = max(free, 0)
        affordable = allowed_by_cap(wanted, price_of(self.service, model))
        if affordable < wanted:
            logger.warning("daily_spend_cap_reached", reason=cap_reason())
            wait = min(_CAP_RECHECK_SECONDS, seconds_until_midnight())
            self._capped_until = time.monotonic() + wait
        return self.take(affordable)

    def take(self, wanted: int) -> int:
        """Take places within the rate, for calls that are afforded already."""
        return self.rate.take(wanted) if self.rate is not None else wanted

    def failed(self, error: ProviderError, *, age_seconds: float) -> bool:
        """Count a refused call, let through so long ago; tell whether everybody has to wait."""
        if self.rate is not None and is_for_the_rate(error):
            self.rate.refused(error, age_seconds=age_seconds)
        return self.breaker.refused(error, paced=self.rate is not None)

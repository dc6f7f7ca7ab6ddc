"""The services that make images, behind one interface, and which of them is asked.

Replicate is asked first; the self-hosted server takes over while Replicate's breaker is open for
another reason than its rate, or makes all images if `IMAGE_SERVICE` says so. A job stays with the
service that it was begun at: a prediction of unknown outcome is looked for there, and nobody else
is asked meanwhile.

Breaker, places, the daily cap and the rate limit bound how many paid calls start. `offer` is cheap
and comes before tokens are claimed; `admit` is binding and runs in the transaction that writes the
calls' job rows. Tokens that are not admitted wait without losing an attempt.

The places are those of all workers (WORKER_BATCH_SIZE for each that lives), counted in the rows of
the jobs under way: a drain that hands over, or a worker that died, leaves its predictions there.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from datetime import timedelta
from decimal import Decimal
from typing import ClassVar, NamedTuple
from zlib import crc32

import structlog
from django.conf import settings
from django.db import connection

from glisk.breaker import Breaker
from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.clients.selfhosted import SelfhostedClient, output_hosts
from glisk.clock import boot_seconds, database_clock, database_now, utc_midnight
from glisk.engine.heartbeat import ALIVE_SECONDS, ClockSkew, note_clock
from glisk.engine.step import D, Step, W
from glisk.errors import NotSentError, ProviderError, is_for_the_rate
from glisk.pauses import Pauses
from glisk.rate_limit import RateLimit
from glisk.timing import timing
from tokens.models import ImageGenerationJob, PromptSample
from tokens.models.job import OPEN_JOB_STATUSES, JobService, JobStatus
from tokens.pipeline.jobs import Price, price_of

logger = structlog.get_logger(__name__)

_MORE_THAN_A_CALL_SECONDS = 10
_CAP_LOCK = crc32(b"glisk:daily_spend_cap")
_PLACES_LOCK = crc32(b"glisk:places")
_PLACES_RECHECK_SECONDS = 0.25  # nothing tells when a call of another process ends

_OPEN = [status.value for status in OPEN_JOB_STATUSES]
PaidCall = ImageGenerationJob | PromptSample

# Whether a job takes a place of its service. A prediction that takes longer counts as lost, and a
# call whose answer is lost takes none. Replicate answers a call before the image is made.
UNDER_WAY = """
    j.status IN ('created', 'submitted') AND j.created_at > now() - make_interval(
        secs => CASE WHEN j.service = 'replicate' AND j.status = 'created'
                THEN %(call_seconds)s ELSE %(longest_seconds)s END)
"""
# How many workers live that make images.
WORKERS = """
    SELECT count(DISTINCT (host, main_pid)) FROM worker_heartbeats
    WHERE stage IN ('generation', 'pipeline')
      AND beat_at > now() - make_interval(secs => %(alive_seconds)s)
"""
_SURVEY = f"""
    SELECT EXISTS (
               SELECT FROM tokens_s0 t
               WHERE t.status IN ('detected', 'generating') AND t.lease_owner IS NULL
                 AND t.held_at IS NULL
                 AND (t.next_attempt_at IS NULL OR t.next_attempt_at <= clock_timestamp())
                 -- No EXISTS: it may be hashed, which reads the open jobs of all tokens.
                 AND (SELECT true FROM image_generation_jobs j
                      WHERE j.token_id = t.token_id AND j.status || '' = ANY(%(open)s) LIMIT 1)
                     IS NULL
           ),
           ({WORKERS}),
           (SELECT EXTRACT(
                EPOCH FROM min(COALESCE(busy_until, created_at)) - clock_timestamp())::float8
            FROM prompt_samples WHERE status IN ('created', 'calling', 'submitted')),
           open.*
    FROM (SELECT 1) one LEFT JOIN (
        SELECT j.service, j.status, count(*) FILTER (WHERE {UNDER_WAY}), count(*),
               count(*) FILTER (WHERE (due.at IS NULL OR due.at <= clock_timestamp())
                                  AND (due.polled OR t.lease_owner IS NULL)),
               EXTRACT(EPOCH FROM min(due.at) FILTER (WHERE due.at > clock_timestamp())
                                  - clock_timestamp())::float8
        FROM image_generation_jobs j JOIN tokens_s0 t USING (token_id)
        -- A poll claims no token; what has ended, or is repeated, waits for no look.
        CROSS JOIN LATERAL (
            SELECT j.service = 'replicate' AND j.status = 'submitted' AS polled,
                   GREATEST(
                       CASE WHEN j.service = 'replicate' AND j.status IN ('created', 'submitted')
                            THEN j.look_at END,
                       CASE WHEN j.service <> 'replicate' OR j.status <> 'submitted'
                            THEN t.next_attempt_at END) AS at
        ) due
        -- Nobody goes on with the jobs of tokens that failed or were withdrawn.
        -- Why `|| ''`: see tokens.transitions.claims.
        WHERE j.status = ANY(%(open)s) AND t.status || '' IN ('detected', 'generating')
        GROUP BY 1, 2
    ) open ON true
"""  # noqa: S608 - constants


def paid_call_seconds() -> float:
    """Return how long after its claim a paid call may still be made."""
    return min(timing.stale_call, settings.LEASE_SECONDS / 4)


def until_probe(breaker: Breaker, *, at_least: float) -> float:
    """Return when to ask an open breaker again: a hand or a probe may have closed it by then."""
    return max(at_least, min(breaker.seconds_until_probe or 0.0, timing.breaker_recheck))


def uses_callbacks() -> bool:
    """Tell whether the vendor can call us back: it needs our address and a signing key."""
    return bool(settings.PUBLIC_BASE_URL and settings.REPLICATE_WEBHOOK_SECRETS)


def callback_url(job: PaidCall) -> str | None:
    """Return where the vendor reports the outcome of a job, whose id finds it; not of a sample."""
    if not uses_callbacks() or isinstance(job, PromptSample):
        return None
    return f"{settings.PUBLIC_BASE_URL}/webhooks/replicate?job={job.pk}"


def _survey_parameters() -> dict[str, float]:
    return {
        "call_seconds": settings.HTTP_READ_TIMEOUT_SECONDS + _MORE_THAN_A_CALL_SECONDS,
        "longest_seconds": settings.GENERATION_TIMEOUT_SECONDS,
        "alive_seconds": ALIVE_SECONDS,
    }


def places_of(workers: int) -> int:
    """Return how many images so many workers make at once; one that asks is one."""
    return max(1, workers) * int(settings.WORKER_BATCH_SIZE)


class _Open(NamedTuple):
    """The open jobs of one service that have one status."""

    service: str
    status: str
    under_way: int
    number: int
    workable: int
    due_in: float | None


class OpenJobs:
    """What there is to do for images, as it stood when the turn of a drain began: in all workers.

    One query for all steps, so that a step that finds no work costs nothing.
    """

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self.is_wanted = False  # an image, for a token that has no open job
        self.places = places_of(1)
        self.next_sample_in: float | None = None  # 0 or less if one is due

    def read(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_SURVEY, {"open": _OPEN, **_survey_parameters()})
            rows = cursor.fetchall()
        self.is_wanted, workers, self.next_sample_in = rows[0][:3]
        self.places = places_of(workers)
        self._open = [_Open(*row[3:]) for row in rows if row[3] is not None]

    @property
    def next_job_in(self) -> float | None:
        """Seconds until a step can take the next job; of held tokens, too."""
        return min((o.due_in for o in self._open if o.due_in is not None), default=None)

    def under_way(self, service: JobService) -> int:
        """How many calls take a place at a service."""
        return sum(o.under_way for o in self._open if o.service == service)

    @property
    def number(self) -> int:
        """How many images are under way or not collected yet."""
        ended = (JobStatus.SUCCEEDED, JobStatus.ERRORED)
        return sum(o.number if o.status in ended else o.under_way for o in self._open)

    def waiting(self, status: JobStatus, service: JobService) -> int:
        """How many there are of a status at a service."""
        return sum(o.number for o in self._open if (o.service, o.status) == (service, status))

    def workable(self, *statuses: JobStatus, service: JobService | None = None) -> int:
        """How many of them a step could take now: due, and with nobody at their tokens."""
        return sum(
            o.workable for o in self._open if o.status in statuses and service in (None, o.service)
        )


def free_places(service: JobService, *, most: int | None) -> int:
    """Return how many calls of a service may begin; nobody else asks till the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PLACES_LOCK])
        cursor.execute(
            f"SELECT ({WORKERS}), (SELECT count(*) "  # noqa: S608 - constants
            "FROM image_generation_jobs j JOIN tokens_s0 t USING (token_id) "
            f"WHERE j.service = %(service)s AND t.status || '' = 'generating' AND {UNDER_WAY})",
            {"service": service, **_survey_parameters()},
        )
        workers, under_way = cursor.fetchone()
    return (places_of(workers) if most is None else most) - int(under_way)


def cost_of_new_images(number: int) -> Decimal:
    """Return the US dollars that so many images cost at the service that is to make them."""
    return price_of(settings.IMAGE_SERVICE).reserved * number


def spent_today() -> Decimal:
    """Return what the calls of this UTC day have cost, open ones included."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (SELECT COALESCE(sum(cost_usd), 0) FROM image_generation_jobs
                    WHERE created_at >= %(midnight)s AND cost_usd IS NOT NULL)
                 + (SELECT COALESCE(sum(cost_usd), 0) FROM prompt_samples
                    WHERE created_at >= %(midnight)s)
            """,
            {"midnight": utc_midnight()},
        )
        return Decimal(cursor.fetchone()[0])


def allowed_by_cap(wanted: int, price: Price) -> int:
    """Return how many of these calls may be made today without exceeding the daily cap.

    Must run in the transaction that writes their rows: until it ends, no other process is told a
    number, so together they never exceed the cap.
    """
    cap = _cap()
    if cap is None or not price.reserved or wanted <= 0:
        return wanted
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CAP_LOCK])
    room = int((cap - spent_today()) / price.reserved)
    return max(0, min(wanted, room))


def seconds_until_midnight() -> float:
    """Return the seconds until the next UTC day."""
    return (utc_midnight() + timedelta(days=1) - database_now()).total_seconds()


def cap_reason() -> str:
    """Return why the generation is paused by the daily cap, or an empty text if it is not."""
    cap = _cap()
    if cap is None:
        return ""
    price, spent = price_of(settings.IMAGE_SERVICE), spent_today()
    if not price.reserved or spent + price.reserved <= cap:
        return ""
    return (
        f"The daily cap of {cap:f} USD is reached: {spent.normalize():f} USD are spent today. It "
        "goes on at 00:00 UTC, or when DAILY_SPEND_CAP_USD is raised."
    )


def _cap() -> Decimal | None:
    return Decimal(str(settings.DAILY_SPEND_CAP_USD)) if settings.DAILY_SPEND_CAP_USD else None


class ImageService(ABC):
    """A service that makes images, and one drain's gate to it."""

    name: ClassVar[JobService]
    # Whether the same call may be made again (it has our id), instead of looking for its outcome.
    repeats_calls: ClassVar[bool] = False
    rate: RateLimit | None = None
    # Calls under way of all workers together; None: as many as the workers have places.
    most_at_once: int | None = None

    def __init__(self) -> None:
        self.breaker = Breaker(self.name)
        self._full_until = 0.0

    @property
    @abstractmethod
    def output_hosts(self) -> list[str]:
        """The hosts that its images may be fetched from."""

    @abstractmethod
    def _create(self, job: PaidCall, *, send_by: float) -> Prediction:
        """Make the call of a job; runs in a thread."""

    def create_prediction(self, job: PaidCall, *, send_by: float) -> Prediction:
        """Make a paid call, unless its time is over (`boot_seconds`). There is no other way.

        The row says already that the call may be under way, and whose it is.
        """
        if boot_seconds() > send_by:
            text = f"{self.name}: the call came too late and was not made"
            raise NotSentError(text, vendor=self.name)
        return self._create(job, send_by=send_by)

    @property
    def seconds_until_open(self) -> float:
        """Return when a refused call is worth trying again; 0 if nothing is refused."""
        rate_wait = self.rate.seconds_until_free if self.rate else 0.0
        return max(0.0, self._full_until - time.monotonic(), rate_wait)

    def offer(self, wanted: int, open_jobs: OpenJobs) -> int:
        """Return how many new calls are worth claiming tokens for."""
        if self.seconds_until_open:
            return 0
        most = open_jobs.places if self.most_at_once is None else self.most_at_once
        return self.breaker.places(min(wanted, most - open_jobs.under_way(self.name)))

    def admit(self, wanted: int) -> int:
        """Take the places of calls that start when this transaction is committed."""
        free = max(0, free_places(self.name, most=self.most_at_once))
        wait = _PLACES_RECHECK_SECONDS if free < wanted else 0.0
        affordable = allowed_by_cap(min(free, wanted), price_of(self.name))
        if affordable < min(free, wanted):
            logger.warning("daily_spend_cap_reached", reason=cap_reason())
            wait = min(timing.cap_recheck, seconds_until_midnight())
        self._full_until = time.monotonic() + wait
        return self.take(affordable)

    def take(self, wanted: int) -> int:
        """Take places within the rate, for calls that are afforded already."""
        return self.rate.take(wanted) if self.rate else wanted

    def refused(self, error: ProviderError, *, age_seconds: float) -> bool:
        """Count a refused call, let through so long ago; tell whether everybody has to wait."""
        if self.rate and is_for_the_rate(error):
            self.rate.refused(error, age_seconds=age_seconds)
        return self.breaker.refused(error, paced=self.rate is not None)


class ReplicateService(ImageService):
    name = JobService.REPLICATE

    def __init__(self) -> None:
        super().__init__()
        self.client = ReplicateClient()
        # Single reads and the listing may be refused while new calls work, and each without the
        # other.
        self.reads, self.listing = Breaker("replicate_reads"), Breaker("replicate_listing")
        self.rate = RateLimit(
            self.name,
            per_minute=settings.REPLICATE_PREDICTIONS_PER_MINUTE,
            slack_seconds=int(timing.stale_call),
        )
        self._clock_noted_at = -timing.clock_note

    @property
    def output_hosts(self) -> list[str]:
        return list(settings.REPLICATE_OUTPUT_HOSTS)

    def _create(self, job: PaidCall, *, send_by: float) -> Prediction:
        return self.client.create_prediction(
            input=job.input, webhook_url=callback_url(job), send_by=send_by
        )

    def offer(self, wanted: int, open_jobs: OpenJobs) -> int:
        """None is paid for while nobody can read how they end, or one, if only it can tell."""
        # No probe is taken here: a read is one, and it comes after the call.
        allowed = None if uses_callbacks() else self.reads.allowed(1)
        if allowed is None or not self.reads.is_open:
            self.most_at_once = None
        else:
            waiting = open_jobs.waiting(JobStatus.SUBMITTED, self.name)
            self.most_at_once = 0 if waiting else allowed
        return super().offer(wanted, open_jobs)

    @property
    def is_out(self) -> bool:
        """Tell whether another service is to stand in for it, now that it was asked."""
        is_down = self.breaker.is_open and not self.breaker.is_rate_limited
        return is_down or self.most_at_once is not None

    def note_clock(self) -> None:
        """Tell operators now and then if its clock is not the database's."""
        now, shown = boot_seconds(), self.client.clock
        if now - self._clock_noted_at < timing.clock_note:
            return
        if shown is not None and shown.read_at > self._clock_noted_at:
            self._clock_noted_at = now
            note_clock(ClockSkew("Replicate", shown.ahead_of(database_clock())))


class SelfhostedService(ImageService):
    name = JobService.SELFHOSTED
    repeats_calls = True

    def __init__(self) -> None:
        super().__init__()
        self.client = SelfhostedClient()
        self.most_at_once = settings.SELFHOSTED_CONCURRENCY

    @property
    def output_hosts(self) -> list[str]:
        return output_hosts(settings.SELFHOSTED_IMAGE_API_URL)

    def _create(self, job: PaidCall, *, send_by: float) -> Prediction:
        # The seed tells this job from one with its number in another database.
        name = f"glisk-{job.pk}-{job.input.get('seed', 0)}"
        return self.client.create_prediction(input=job.input, prediction_id=name)


class Services:
    """The services of one drain, and how many new calls each of them may get now."""

    def __init__(self, pauses: Pauses) -> None:
        self.replicate = ReplicateService()
        url = settings.SELFHOSTED_IMAGE_API_URL
        self.selfhosted = SelfhostedService() if url else None
        self.all: list[ImageService] = [self.replicate]
        if self.selfhosted:
            self.all.append(self.selfhosted)
        self._pauses = pauses
        self._offered: list[tuple[ImageService, int]] = []

    def of(self, job: ImageGenerationJob) -> ImageService | None:
        """Return the service that a job was begun at; None if it is not configured any more."""
        return self.replicate if job.service == JobService.REPLICATE else self.selfhosted

    def offer(self, wanted: int, open_jobs: OpenJobs) -> int:
        """Return how many new calls are worth claiming tokens for."""
        self._offered = []
        # A slow download takes no vendor's place, but images must not pile up either.
        wanted = min(wanted, 2 * open_jobs.places - open_jobs.number)
        if wanted <= 0 or self._pauses.is_paused("generation"):
            return 0
        offered = 0
        if not self.selfhosted or settings.IMAGE_SERVICE == JobService.REPLICATE:
            offered = self._offer(self.replicate, wanted, open_jobs)
            if not self.replicate.is_out:
                return offered
        if self.selfhosted:
            offered += self._offer(self.selfhosted, wanted - offered, open_jobs)
        return offered

    def _offer(self, service: ImageService, wanted: int, open_jobs: OpenJobs) -> int:
        places = max(0, service.offer(wanted, open_jobs))
        self._offered.append((service, places))
        return places

    def admit(self, wanted: int) -> list[ImageService]:
        """Take offered places for calls that start with this commit, one service each."""
        admitted: list[ImageService] = []
        for service, places in self._offered:
            share = min(wanted, places)
            if share:
                admitted += [service] * service.admit(share)
            wanted -= share
        return admitted

    @property
    def seconds_until_call(self) -> float | None:
        """Return when a new call is worth trying; None if nothing is refused."""
        breakers = [service.breaker for service in self.all]
        # A probe that is due already was not wanted now: then the idle tick will do.
        waits = [breaker.seconds_until_probe for breaker in breakers]
        waits += [service.seconds_until_open for service in self.all]
        if any(breaker.is_open for breaker in breakers):
            waits.append(timing.breaker_recheck)
        return min((wait for wait in waits if wait), default=None)


class ImageStep(Step[W, D]):
    """A step of the generation: what all of them go by."""

    def __init__(self, owner: str, open_jobs: OpenJobs, services: Services) -> None:
        super().__init__(owner)
        self.open_jobs = open_jobs
        self.services = services
        self.replicate = services.replicate

    @property
    def free(self) -> int:
        return self.most - len(self.under_way)

    def due_in(self) -> float | None:
        return self.open_jobs.next_job_in

"""The services that make images, behind one interface, and which of them is asked.

Replicate is asked first; the self-hosted server takes over while Replicate's breaker is open for
another reason than its rate, or makes all images if `IMAGE_SERVICE` says so. A job stays with the
service that it was begun at: a prediction of unknown outcome is looked for there, and nobody else
is asked meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from django.conf import settings

from glisk.breaker import Breaker
from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.clients.selfhosted import SelfhostedClient, output_hosts
from glisk.pauses import Pauses
from glisk.rate_limit import RateLimit
from tokens.models import ImageGenerationJob, PromptSample
from tokens.models.job import JobService
from tokens.pipeline.admission import Admission
from tokens.pipeline.calls import STALE_CALL_SECONDS
from tokens.pipeline.items import callback_url
from tokens.pipeline.spend import model_of


class ImageService(Protocol):
    """What the generation needs to know of a service."""

    name: JobService
    admission: Admission
    # Whether the same call may be made again (it has our id), instead of looking for its outcome.
    repeats_calls: bool
    most_at_once: int | None  # places that it has

    @property
    def output_hosts(self) -> list[str]:
        """The hosts that its images may be fetched from."""

    def create(self, job: ImageGenerationJob | PromptSample, *, send_by: float) -> Prediction:
        """Make the call of a job; runs in a pool thread. `send_by`: boot_seconds."""


class ReplicateService:
    name = JobService.REPLICATE
    repeats_calls = False
    most_at_once: int | None = None

    def __init__(self) -> None:
        self.client = ReplicateClient.from_settings()
        self.admission = Admission(
            self.name,
            Breaker(self.name),
            RateLimit(
                self.name,
                per_minute=settings.REPLICATE_PREDICTIONS_PER_MINUTE,
                slack_seconds=int(STALE_CALL_SECONDS),
            ),
        )

    @property
    def output_hosts(self) -> list[str]:
        return list(settings.REPLICATE_OUTPUT_HOSTS)

    def create(self, job: ImageGenerationJob | PromptSample, *, send_by: float) -> Prediction:
        return self.client.create_prediction(
            input=job.input, webhook_url=callback_url(job), send_by=send_by
        )


class SelfhostedService:
    name = JobService.SELFHOSTED
    repeats_calls = True

    def __init__(self) -> None:
        self.client = SelfhostedClient.from_settings()
        self.most_at_once: int | None = settings.SELFHOSTED_CONCURRENCY
        self.admission = Admission(
            self.name, Breaker(self.name), rate=None, most_at_once=self.most_at_once
        )

    @property
    def output_hosts(self) -> list[str]:
        return output_hosts(settings.SELFHOSTED_IMAGE_API_URL)

    def create(self, job: ImageGenerationJob | PromptSample, *, send_by: float) -> Prediction:
        # The seed tells this job from one with its number in another database.
        name = f"glisk-{job.pk}-{job.input.get('seed', 0)}"
        return self.client.create_prediction(input=job.input, prediction_id=name)


class Services:
    """The services of one drain, and how many new calls each of them may get now."""

    def __init__(self, pauses: Pauses) -> None:
        self.replicate = ReplicateService()
        url = settings.SELFHOSTED_IMAGE_API_URL
        self.selfhosted = SelfhostedService() if url else None
        self._pauses = pauses
        self._places: list[tuple[ImageService, int]] = []

    def of(self, job: ImageGenerationJob) -> ImageService | None:
        """Return the service that a job was begun at; None if it is not configured any more."""
        return self.replicate if job.service == JobService.REPLICATE else self.selfhosted

    @property
    def all(self) -> list[ImageService]:
        return [self.replicate, *([self.selfhosted] if self.selfhosted else [])]

    def places(self, wanted: int, *, busy: Mapping[str, int], replicate: int | None = None) -> int:
        """Return how many new calls are worth claiming tokens for.

        `busy`: calls by service; `replicate`: at most so many there, None for any number.
        """
        self._places = []
        if self._pauses.is_paused("generation"):
            return 0
        if self.selfhosted and settings.IMAGE_SERVICE == JobService.SELFHOSTED:
            return self._offer(self.selfhosted, wanted, busy)
        at_replicate = wanted if replicate is None else min(wanted, replicate)
        offered = self._offer(self.replicate, at_replicate, busy)
        if self.selfhosted and (_is_out(self.replicate) or replicate is not None):
            offered += self._offer(self.selfhosted, wanted - offered, busy)
        return offered

    def _offer(self, service: ImageService, wanted: int, busy: Mapping[str, int]) -> int:
        if service.most_at_once is not None:
            wanted = min(wanted, service.most_at_once - busy.get(service.name, 0))
        places = service.admission.places(wanted)
        if places > 0:
            self._places.append((service, places))
        return max(places, 0)

    def admit(self, wanted: int) -> list[ImageService]:
        """Take places for calls that start when this transaction is committed, one service each.

        At most as many as `places` has offered.
        """
        admitted: list[ImageService] = []
        for service, places in self._places:
            number = service.admission.admit(min(wanted, places), model_of(service.name))
            admitted += [service] * number
            wanted -= min(wanted, places)
        return admitted

    def give_probes_back(self, used: list[ImageService]) -> None:
        """Let others probe the services that were offered, but are not asked now."""
        for service, _ in self._places:
            if service not in used:
                service.admission.breaker.give_probe_back()
        self._places = []

    @property
    def seconds_until_open(self) -> float | None:
        """Return when a new call is worth trying; None if nothing is refused."""
        waits = [service.admission.seconds_until_open for service in self.all]
        return min((wait for wait in waits if wait is not None), default=None)


def _is_out(service: ImageService) -> bool:
    breaker = service.admission.breaker
    return breaker.is_open and not breaker.is_rate_limited

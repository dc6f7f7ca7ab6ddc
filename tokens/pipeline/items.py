"""A claimed token on its way through the generation: where it stands, in memory."""

from dataclasses import dataclass, field
from enum import Enum

from django.conf import settings

from glisk.clock import boot_seconds
from glisk.errors import ProviderError
from tokens.models import ImageGenerationJob, PromptSample


class Phase(Enum):
    CREATING = "creating"
    WAITING = "waiting"
    RECONCILING = "reconciling"
    CAPTURING = "capturing"


@dataclass
class Item:
    """A token that this process holds the lease of."""

    token_id: int
    attempts: int
    generation_attempts: int
    fallback_used: bool
    job: ImageGenerationJob
    phase: Phase
    claimed_at: float = field(default_factory=boot_seconds)  # before the claim; boot_seconds
    busy: bool = False  # a call for this item alone is under way
    waiting_since: float = 0.0  # monotonic; when the vendor has had it
    cancel_again_at: float = 0.0  # monotonic; of an overdue prediction
    lost_at: float | None = None  # monotonic; when this process lost the reply to its call
    looks: int = 0  # for its lost reply, without a result
    look_again_at: float = 0.0  # monotonic
    told: bool = False  # that it takes long
    image: str | None = None  # data URI or URL of the image, if its reply told it
    # What its call's answer means if the look-up finds nothing; None: no answer came.
    fault: ProviderError | None = None

    @property
    def key(self) -> tuple[int, int]:
        """Name a call made for it: results may come twice, and the token may have a new job."""
        return self.token_id, self.job.pk


def uses_callbacks() -> bool:
    """Tell whether the vendor can call us back: it needs our address and a signing key."""
    return bool(settings.PUBLIC_BASE_URL and settings.REPLICATE_WEBHOOK_SECRETS)


def callback_url(job: ImageGenerationJob | PromptSample) -> str | None:
    """Return where the vendor reports the outcome, with our job's id in the query.

    The id finds the job even if the reply to our call is lost. Samples are polled.
    """
    if not uses_callbacks() or isinstance(job, PromptSample):
        return None
    return f"{settings.PUBLIC_BASE_URL}/webhooks/replicate?job={job.pk}"

"""The vendor calls of the pipeline: what runs in a pool thread. No database in here."""

from collections.abc import Collection, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

from django.conf import settings

from glisk.cid import compute_cid
from glisk.clients.data_uri import SCHEME, read_data_uri
from glisk.clients.download import download_output
from glisk.clients.pinata import Pin, PinataClient
from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.clock import boot_seconds
from glisk.errors import (
    ContentPolicyError,
    InvalidRequestError,
    NotSentError,
    ProviderError,
)
from glisk.images import ImageFacts, inspect_image
from tokens.models import ImageGenerationJob, PromptSample
from tokens.models.job import JobService

# A paid call that was asked for this long ago is not made any more: the process was frozen,
# and somebody else may have taken the token over.
STALE_CALL_SECONDS = 5.0
FEW = 3  # read one by one
_MOST_PAGES = 5


class Creator(Protocol):
    """A service that makes images (tokens.pipeline.services.ImageService)."""

    name: JobService

    def create(self, job: ImageGenerationJob | PromptSample, *, send_by: float) -> Prediction: ...


def paid_call_seconds() -> float:
    """Return how long after its claim a paid call may still be made."""
    return min(STALE_CALL_SECONDS, settings.LEASE_SECONDS / 4)


def create_prediction(
    service: Creator, *, job: ImageGenerationJob | PromptSample, send_by: float
) -> Prediction:
    """Make a paid call, unless its time is over (`send_by`: boot_seconds). There is no other way.

    The row says already that the call may be under way, and whose it is.
    """
    if boot_seconds() > send_by:
        text = f"{service.name}: the call came too late and was not made"
        raise NotSentError(text, vendor=service.name)
    return service.create(job, send_by=send_by)


@dataclass(frozen=True)
class Poll:
    """What was read; `refusal`: the listing was asked, and failed."""

    predictions: list[Prediction]
    refusal: ProviderError | None = None


def poll_predictions(
    client: ReplicateClient, *, external_ids: Collection[str], listed_since: datetime | None
) -> Poll:
    """Ask for predictions; of many, the listing says which have ended, so that few are read.

    `listed_since` is None where the listing is not to be asked. A prediction that the vendor does
    not know any more comes back as `aborted`; one that cannot be read now is left out, so that it
    keeps nobody waiting. Raises if none can be read.
    """
    running: set[str] = set()
    refusal = None
    if listed_since is not None:
        try:
            running = _running(client, listed_since)
        except ProviderError as error:
            refusal = error
    ended = [external_id for external_id in external_ids if external_id not in running]
    return Poll(get_many(client, ended), refusal)


def _running(client: ReplicateClient, since: datetime) -> set[str]:
    pages = islice(client.prediction_pages(created_after=since), _MOST_PAGES)
    return {found.id for page in pages for found in page if not found.is_terminal}


def get_many(client: ReplicateClient, external_ids: Collection[str]) -> list[Prediction]:
    """Read predictions one by one; what cannot be read is left out. Raises if nothing can be."""
    found: list[Prediction] = []
    faults: list[ProviderError] = []
    for external_id in external_ids:
        try:
            found.append(_get_or_gone(client, external_id))
        except ProviderError as error:
            faults.append(error)
            if len(faults) == FEW:  # it is not this or that prediction
                break
    if faults and not found:
        raise faults[0]
    return found


def _get_or_gone(client: ReplicateClient, external_id: str) -> Prediction:
    try:
        return client.get_prediction(external_id)
    except InvalidRequestError as error:
        if error.reason != "not_found":
            raise
        return Prediction(id=external_id, status="aborted", error="The vendor does not know it.")


def end_overdue(client: ReplicateClient, *, external_id: str) -> Prediction:
    """Cancel a prediction that took too long, unless it has ended by now."""
    prediction = _get_or_gone(client, external_id)
    if prediction.is_terminal:
        return prediction
    return client.cancel_prediction(external_id)


@dataclass(frozen=True)
class Captured:
    """An image as fetched and checked, with the CID that it will have."""

    data: bytes
    facts: ImageFacts
    cid: str


def capture_image(
    decoders: Executor,
    *,
    url: str,
    vendor: str,
    allowed_hosts: Sequence[str],
    max_bytes: int,
    timeout: float,
    cid_version: int,
) -> Captured:
    """Fetch the generated image, decode it fully, and compute its CID.

    The URL may be a data URI. The decoding runs in `decoders`: it is work for the CPU, which two
    threads share better than many. Raises `ContentPolicyError` for a blank picture: that is how
    some models refuse a prompt.
    """
    if url.startswith(SCHEME):
        data = read_data_uri(url, max_bytes=max_bytes, vendor=vendor)
    else:
        data = download_output(
            url, allowed_hosts=allowed_hosts, max_bytes=max_bytes, timeout=timeout
        )
    facts = decoders.submit(inspect_image, data, max_bytes=max_bytes).result()
    if facts.is_blank:
        raise ContentPolicyError(
            f"{vendor}: the image is blank, which is how a refused prompt may end",
            vendor=vendor,
            code="blank_image",
        )
    return Captured(data, facts, compute_cid(data, version=1 if cid_version else 0))


@dataclass(frozen=True)
class Upload:
    """One file that has to be pinned, and the CID that it must get."""

    kind: str  # image or metadata
    data: bytes
    name: str
    content_type: str
    cid: str
    cid_version: int


@dataclass(frozen=True)
class UploadOutcome:
    upload: Upload
    pin: Pin | None
    error: ProviderError | None


def pin_files(
    client: PinataClient, pool: ThreadPoolExecutor, *, token_id: int, uploads: Sequence[Upload]
) -> list[UploadOutcome]:
    """Pin a token's missing files at the same time; one file's fault does not hide the other."""

    def pin(upload: Upload) -> UploadOutcome:
        try:
            result = client.pin_file(
                data=upload.data,
                name=upload.name,
                keyvalues={"season": str(settings.SEASON), "token_id": str(token_id)},
                cid_version=1 if upload.cid_version else 0,
                content_type=upload.content_type,
            )
        except ProviderError as error:
            return UploadOutcome(upload, None, error)
        return UploadOutcome(upload, result, None)

    others = [pool.submit(pin, upload) for upload in uploads[1:]]
    return [pin(uploads[0]), *(other.result() for other in others)] if uploads else []

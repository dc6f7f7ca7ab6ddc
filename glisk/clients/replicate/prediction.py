"""Replicate's prediction object, and what its failures mean.

Format: https://replicate.com/docs/reference/http#predictions.get. The official SDK's model is not
used because it refuses the status `aborted`, which the API sends since October 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from glisk.clients.moderation import find_refusal, find_refusal_in_logs
from glisk.errors import (
    ContentPolicyError,
    InvalidRequestError,
    NoImageError,
    ProviderError,
    TransientError,
)
from glisk.logging.redaction import storable_text

VENDOR: Final = "replicate"

STARTING, PROCESSING = "starting", "processing"
SUCCEEDED, FAILED, CANCELED, ABORTED = "succeeded", "failed", "canceled", "aborted"
TERMINAL_STATUSES: Final = frozenset({SUCCEEDED, FAILED, CANCELED, ABORTED})

_URL_SCHEMES: Final = ("https://", "http://", "data:")
_PICTURE_ENDINGS: Final = (".webp", ".png", ".jpg", ".jpeg")
_MAX_URL_CHARACTERS: Final = 2000
_MAX_ID_CHARACTERS: Final = 100
_MAX_LOG_CHARACTERS: Final = 4000
REPLY_BYTES: Final = 4 * 1024 * 1024  # of a reply without its images


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction as one reply or webhook showed it. Times are aware UTC.

    `input` and `logs` are left out of listings and out of `repr` (they may be long).
    """

    id: str
    status: str
    output_urls: tuple[str, ...] = ()
    output_text: str = field(default="", repr=False)  # what else an output without a URL says
    error: str | None = None
    logs: str = field(default="", repr=False)
    predict_time_seconds: float | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    input: Mapping[str, Any] = field(default_factory=dict, repr=False)
    data_removed: bool = False
    model: str = ""
    version: str = ""

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing more will come.

        A status that we do not know counts as running until the prediction has an end time:
        taking it for a failure would pay for a second picture while the first is made.
        """
        if self.status in TERMINAL_STATUSES:
            return True
        return self.status not in (STARTING, PROCESSING) and self.completed_at is not None

    @property
    def is_succeeded(self) -> bool:
        """Tell whether it ended well; its output may still be gone (`data_removed`)."""
        return self.status == SUCCEEDED


def parse_prediction(payload: Mapping[str, Any]) -> Prediction:
    """Read a prediction from a reply or a webhook body.

    Only `id` and `status` are required; anything else of an unexpected type counts as absent.
    Raises ValueError if one of these two is missing, or if the id is no plain short text.
    """
    identifier, status = payload.get("id"), payload.get("status")
    if not isinstance(identifier, str) or not identifier or not isinstance(status, str):
        raise ValueError("not a prediction: id or status is missing")
    if not (identifier.isascii() and identifier.isprintable()):
        raise ValueError("not a prediction: the id is not plain text")
    if len(identifier) > _MAX_ID_CHARACTERS:
        raise ValueError("not a prediction: the id is too long")
    metrics = payload.get("metrics")
    inputs = payload.get("input")
    texts = _texts(payload.get("output"))
    urls = _urls_among(texts)
    return Prediction(
        id=identifier,
        status=status,
        output_urls=urls,
        output_text="" if urls else "\n".join(texts)[:_MAX_LOG_CHARACTERS],
        error=_error_text(payload.get("error")),
        logs=_text(payload.get("logs"))[-_MAX_LOG_CHARACTERS:],
        predict_time_seconds=_number(
            metrics.get("predict_time") if isinstance(metrics, Mapping) else None
        ),
        created_at=_time(payload.get("created_at")),
        completed_at=_time(payload.get("completed_at")),
        input=dict(inputs) if isinstance(inputs, Mapping) else {},
        data_removed=payload.get("data_removed") is True,
        model=_text(payload.get("model")),
        version=_text(payload.get("version")),
    )


# Texts by which a failure is known (compared in lower case), and what they mean.
_FAILURES: Final[tuple[tuple[str, type[ProviderError], str], ...]] = (
    # "Prediction interrupted; please retry (code: PA)":
    # https://github.com/replicate/cog-whisper/issues/1
    ("prediction interrupted", TransientError, "interrupted"),
    # "Director: unexpected error handling prediction (E9828)": Replicate's own infrastructure
    # (public reports)
    ("unexpected error handling prediction", TransientError, "director"),
    # The title of the 422 body: https://replicate.com/docs/reference/http
    ("input validation failed", InvalidRequestError, "validation"),
)


def classify_prediction_failure(prediction: Prediction, *, vendor: str = VENDOR) -> ProviderError:
    """Return the error that an ended prediction without usable output means.

    A failure of unknown wording is transient: in practice these are faults of a GPU host, a
    retry costs one more picture, and the row's attempts bound it. A prediction that was canceled
    or aborted, or whose output is gone, needs a new one as well. A success without an image is
    paid for, and the next one may be as well. Raises ValueError for a prediction that still runs.
    """
    if not prediction.is_terminal:
        raise ValueError(f"prediction {prediction.id} has not ended ({prediction.status})")
    where = f"{vendor}: prediction {prediction.id} {prediction.status}"
    if prediction.status in (CANCELED, ABORTED):
        text = f"{where}: {_told(prediction.error)}"
        return TransientError(text, vendor=vendor, code=prediction.status)
    refusal = _refusal(prediction)
    if prediction.is_succeeded and not refusal:
        if prediction.data_removed:
            text = f"{where}, but its output is deleted by now"
            return TransientError(text, vendor=vendor, code="output_removed")
        text = f"{where}, but its output holds no image"
        return NoImageError(text, vendor=vendor, code="no_output")
    text = f"{where}: {_told(prediction.error or refusal)}"
    if refusal:
        return ContentPolicyError(text, vendor=vendor, code="moderation")
    told = (prediction.error or prediction.logs).lower()
    for known, kind, code in _FAILURES:
        if known in told:
            return kind(text, vendor=vendor, code=code)
    code = prediction.status if prediction.status != FAILED else "model_failed"
    return TransientError(text, vendor=vendor, code=code)


def _told(text: str | None) -> str:
    return (text or "no error text")[:500]


def _refusal(prediction: Prediction) -> str:
    """Return the sentence by which moderation refused, or an empty text.

    Output and logs decide only where the error says nothing: logs may quote the prompt.
    """
    prompt = str(prediction.input.get("prompt", ""))
    if prediction.error:
        return find_refusal(prediction.error, prompt=prompt)
    said = find_refusal(prediction.output_text, prompt=prompt)
    return said or find_refusal_in_logs(prediction.logs, prompt=prompt)


def _urls_among(texts: list[str]) -> tuple[str, ...]:
    """Return the URLs among the texts of an output.

    Those that look like a picture's come first, since a model may add a mask's or a report's.
    """
    found = [text for text in texts if text.lower().startswith(_URL_SCHEMES)]
    return tuple(sorted(map(storable_text, found), key=_is_no_picture))


def _texts(value: Any) -> list[str]:
    """Return all texts in a JSON value, in order: each model has a shape of output of its own.

    Without recursion, since it may nest deeply.
    """
    texts: list[str] = []
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            texts.append(value.strip())
        elif isinstance(value, dict):
            rest += reversed(value.values())
        elif isinstance(value, list):
            rest += reversed(value)
    return texts


def _is_no_picture(url: str) -> bool:
    head = url[:_MAX_URL_CHARACTERS].lower()
    if head.startswith("data:"):
        return not head.startswith("data:image/")
    return not head.partition("?")[0].endswith(_PICTURE_ENDINGS)


def _error_text(error: Any) -> str | None:
    if error is None or isinstance(error, str):
        return error or None
    return str(error)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _time(value: Any) -> datetime | None:
    """Read an ISO time with any number of decimals; without a zone it is none of Replicate's."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def bytes_with_image(max_image_bytes: int) -> int:
    """Return how large a reply may be that holds an image of so many bytes in base64."""
    return max_image_bytes * 4 // 3 + REPLY_BYTES

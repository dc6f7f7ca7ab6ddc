"""Predictions of one model at Replicate (https://replicate.com/docs/reference/http), by its SDK.

The SDK (replicate 1.0.7) makes the requests; our HTTP client under it carries them, so that
time-outs, limits and the meaning of a failure are those of every other vendor. Its own transport
would retry and sleep inside, set no time-out at all for `create`, and send the token wherever
`next` points. Its models read no reply: they refuse the status `aborted`, which the API sends since
October 2025, in a listing for the whole page, and know no `data_removed`.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx

from glisk.clients.http import Fault, HttpClient, HttpOptions, Reply, bad_reply, bounded_seconds
from glisk.clients.moderation import REFUSING_STATUSES, find_refusal, find_refusal_in_logs
from glisk.clock import ClockReading
from glisk.errors import (
    AccountError,
    ContentPolicyError,
    InvalidRequestError,
    NoImageError,
    ProviderError,
    TransientError,
)
from glisk.logging.redaction import register_secret, storable_text

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


if TYPE_CHECKING:
    import replicate

DEFAULT_BASE_URL: Final = "https://api.replicate.com"
_LISTING: Final = "/v1/predictions"
_VERSION: Final = re.compile(r"[0-9a-f]{64}")


class ReplicateClient:
    """Makes, reads, lists and cancels predictions of one model."""

    def __init__(
        self,
        *,
        api_token: str,
        model: str,
        base_url: str = DEFAULT_BASE_URL,
        cancel_after_seconds: float | None = None,
        max_image_bytes: int = 0,
        options: HttpOptions | None = None,
    ) -> None:
        """Raise ValueError if the token is empty.

        `model`: `owner/name`, `owner/name:version` or a version, 64 hex digits.

        `max_image_bytes`: how large an image inside a prediction may be, as a data URI.

        `cancel_after_seconds`: Replicate itself ends a prediction after so long, rounded up to
        whole minutes, should nobody of us be there to do it.
        """
        if not api_token:
            raise ValueError("REPLICATE_API_TOKEN must be set")
        register_secret(api_token)
        version = model.rpartition(":")[2]
        self._model = {"version": version} if _VERSION.fullmatch(version) else {"model": model}
        self._api_token = api_token
        minutes = math.ceil((cancel_after_seconds or 0) / 60)
        self._headers = {"Cancel-After": f"{minutes}m"} if minutes else {}
        self._max_bytes = bytes_with_image(max_image_bytes)
        self._http = HttpClient(
            vendor=VENDOR,
            base_url=base_url.rstrip("/").removesuffix("/v1"),
            options=options,
            read_fault=_read_fault,
        )

    @classmethod
    def from_settings(cls) -> Self:
        """Build the client from the REPLICATE_* and HTTP_* settings."""
        from django.conf import settings

        return cls(
            api_token=settings.REPLICATE_API_TOKEN,
            model=settings.REPLICATE_MODEL_VERSION,
            base_url=settings.REPLICATE_BASE_URL,
            cancel_after_seconds=settings.GENERATION_TIMEOUT_SECONDS,
            max_image_bytes=settings.IMAGE_MAX_BYTES,
            options=HttpOptions.from_settings(),
        )

    def create_prediction(
        self,
        *,
        input: Mapping[str, Any],  # noqa: A002 - the vendor's own word for it
        webhook_url: str | None,
        send_by: float | None = None,
    ) -> Prediction:
        """Start one prediction and return it as accepted. This call costs money.

        `send_by`: it is not made after this time (`boot_seconds`), but raises NotSentError.

        `input` holds no None: Replicate refuses null. The API knows no idempotency key:
        UnknownOutcomeError means that the prediction may exist and be charged, and must be looked
        for (`prediction_pages`, the webhook) before another is made. Also raises
        ContentPolicyError, InvalidRequestError, AccountError and TransientError.
        """
        options: dict[str, Any] = {**self._model}
        if webhook_url:
            options |= {"webhook": webhook_url, "webhook_events_filter": ["completed"]}
        try:
            reply = self._reply_to(
                lambda sdk: sdk.predictions.create(input=dict(input), **options),
                idempotent=False,
                send_by=send_by,
            )
        except InvalidRequestError as error:
            if error.status != 404:
                raise
            # The model itself is unknown: every other token would meet the same answer.
            raise AccountError(
                f"{error.message} Check REPLICATE_MODEL_VERSION.",
                vendor=VENDOR,
                status=404,
                code="model_not_found",
            ).quoting(error.said) from None
        return _read_prediction(reply, "POST predictions", idempotent=False)

    def get_prediction(self, prediction_id: str) -> Prediction:
        """Return a prediction as it is now.

        Raises InvalidRequestError with reason "not_found" if Replicate does not know it (any
        more).
        """
        known = quote(prediction_id, safe="")
        reply = self._reply_to(
            lambda sdk: sdk.predictions.get(known), idempotent=True, max_bytes=self._max_bytes
        )
        return _read_prediction(reply, f"GET {known}", idempotent=True)

    def cancel_prediction(self, prediction_id: str) -> Prediction:
        """Cancel a prediction and return it; one that has ended is returned as it is."""
        known = quote(prediction_id, safe="")
        reply = self._reply_to(
            lambda sdk: sdk.predictions.cancel(known), idempotent=True, max_bytes=self._max_bytes
        )
        return _read_prediction(reply, f"POST {known}/cancel", idempotent=True)

    def prediction_pages(
        self, *, created_after: datetime | None = None, created_before: datetime | None = None
    ) -> Iterator[list[Prediction]]:
        """Give the pages of the account's listing, 100 each, newest first, until it ends.

        The bounds (aware times) are asked for, and not checked. Items may lack `input` and
        `output`: read the prediction by its id for these. Entries that cannot be read are left
        out. Raises AccountError, InvalidRequestError and TransientError.
        """
        bounds = {"created_after": created_after, "created_before": created_before}
        bound = {name: _vendor_time(moment) for name, moment in bounds.items() if moment}
        params = dict(bound)
        while True:
            # The SDK knows no filter, but takes a cursor for what it is: the rest of a URL.
            cursor = f"{_LISTING}?{urlencode(params)}"
            reply = self._reply_to(functools.partial(_list, cursor), idempotent=True)
            answer = reply.json_object() or {}
            results = answer.get("results")
            if not isinstance(results, list):
                raise bad_reply(
                    VENDOR, "GET /v1/predictions", reply, idempotent=True, why="no results"
                )
            yield _readable(results)
            following = answer.get("next")
            if not isinstance(following, str) or not following:
                return
            # Only the query of `next` is taken: the token goes to our own base URL, nowhere else.
            params = {**bound, **dict(parse_qsl(urlsplit(following).query))}

    @property
    def clock(self) -> ClockReading | None:
        """What Replicate's clock showed with its last reply; None before the first."""
        return self._http.session.clock

    def probe(self) -> None:
        """Check the token by reading the account; raise AccountError or TransientError."""
        self._reply_to(lambda sdk: sdk.accounts.current(), idempotent=True)

    def fetch_webhook_secret(self) -> str:
        """Return the account's webhook signing key (`whsec_…`).

        Raises AccountError if the token is refused, TransientError or another error of the tree
        for anything else.
        """
        reply = self._reply_to(lambda sdk: sdk.webhooks.default.secret(), idempotent=True)
        secret = (reply.json_object() or {}).get("key")
        if not isinstance(secret, str) or not secret:
            raise TransientError(f"{VENDOR}: the answer holds no signing key", vendor=VENDOR)
        register_secret(secret)
        return secret

    def _reply_to(
        self, call: Callable[[replicate.Client], Any], *, idempotent: bool, **options: Any
    ) -> Reply:
        """Make one call of the SDK and return what was answered; raise our client's errors.

        `options` are those of `HttpClient.call`.
        """
        import replicate  # 25 MB, which a process that only reads webhooks does not need

        transport = _Transport(self._http, {"idempotent": idempotent, **options})
        sdk = replicate.Client(
            api_token=self._api_token,
            base_url="https://replicate.invalid",  # the host is our client's, whatever a URL says
            transport=transport,
            headers=dict(self._headers),
        )
        try:
            call(sdk)
        except _Answered as answered:
            return answered.reply
        raise RuntimeError("the SDK made no request")


class _Answered(Exception):
    """A reply on its way past the SDK, which would read it with its models."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class _Transport(httpx.BaseTransport):
    """Carries one request of the SDK by our HTTP client."""

    def __init__(self, http: HttpClient, options: Mapping[str, Any]) -> None:
        self._http, self._options = http, options

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        reply = self._http.call(
            request.method,
            path,
            params=query,
            data=request.read(),
            headers={
                name: request.headers[name]
                for name in ("Authorization", "Content-Type", "Cancel-After")
                if name in request.headers
            },
            **self._options,
        )
        raise _Answered(reply)


def _list(cursor: str, sdk: replicate.Client) -> Any:
    return sdk.predictions.list(cursor)


def _read_fault(reply: Reply) -> Fault:
    """Read Replicate's error body (RFC 7807: title, detail, status; 429 adds retry_after).

    "Invalid version or not permitted" (422) is what a wrong model version, a private model and an
    account without a payment method get: a fault of the account, not of the token's prompt.
    """
    answer = reply.json_object() or {}
    title, detail = answer.get("title"), answer.get("detail")
    parts = [part.strip() for part in (title, detail) if isinstance(part, str) and part.strip()]
    text = ": ".join(parts) or reply.excerpt()
    if reply.status in REFUSING_STATUSES and find_refusal(text):
        return Fault(text, code="moderation", kind=ContentPolicyError)
    if title == "Invalid version or not permitted":
        return Fault(text, code="model_version", kind=AccountError)
    wait = answer.get("retry_after")
    if isinstance(wait, bool) or not isinstance(wait, int | float):
        return Fault(text)
    return Fault(text, retry_after_seconds=bounded_seconds(wait))


def _read_prediction(reply: Reply, what: str, *, idempotent: bool) -> Prediction:
    try:
        return parse_prediction(reply.json_object() or {})
    except ValueError:
        raise bad_reply(VENDOR, what, reply, idempotent=idempotent, why="no prediction") from None


def _readable(items: list[Any]) -> list[Prediction]:
    """Return the predictions of a listing; leave out what is none."""
    found = []
    for item in items:
        with contextlib.suppress(ValueError):
            found.append(parse_prediction(item if isinstance(item, dict) else {}))
    return found


def _vendor_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"

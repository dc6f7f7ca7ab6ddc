"""Predictions of one model at Replicate (https://replicate.com/docs/reference/http), by its SDK.

The SDK (replicate 1.0.7) makes the requests; our HTTP client under it carries them, so that
time-outs, limits and the meaning of a failure are those of every other vendor. Its own transport
would retry and sleep inside, set no time-out at all for `create`, and send the token wherever
`next` points. Its models read no reply: they refuse the status `aborted`, which the API sends since
October 2025, in a listing for the whole page, and know no `data_removed`.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from django.conf import settings

from glisk.clients.http import Fault, HttpClient, Reply, bad_reply, bounded_seconds
from glisk.clients.moderation import REFUSING_STATUSES, find_refusal
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

if TYPE_CHECKING:
    import httpx
    import replicate

VENDOR: Final = "replicate"

STARTING, PROCESSING = "starting", "processing"
SUCCEEDED, FAILED, CANCELED, ABORTED = "succeeded", "failed", "canceled", "aborted"
TERMINAL_STATUSES: Final = frozenset({SUCCEEDED, FAILED, CANCELED, ABORTED})

_URL_SCHEMES: Final = ("https://", "http://", "data:")
_PICTURE_ENDINGS: Final = (".webp", ".png", ".jpg", ".jpeg")
_MAX_URL_CHARACTERS: Final = 2000
_MAX_ID_CHARACTERS: Final = 100
_MAX_LOG_CHARACTERS: Final = 4000
REPLY_BYTES: Final = 4 * 1024 * 1024  # without images
# The title of the 422 body: https://replicate.com/docs/reference/http
_INVALID_INPUT: Final = "input validation failed"
_VERSION: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction as one reply or webhook showed it. Times are aware UTC.

    `input` and `logs` are left out of listings and out of `repr` (they may be long).
    """

    id: str
    status: str
    output_urls: tuple[str, ...] = ()
    output_text: str = field(default="", repr=False)  # what else an output without a URL says
    error: str = ""
    logs: str = field(default="", repr=False)
    predict_time_seconds: float | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    input: Mapping[str, Any] = field(default_factory=dict, repr=False)
    data_removed: bool = False

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
    """Read a prediction from a reply or a webhook body, with texts that the database can hold.

    Only `id` and `status` are required; anything else of an unexpected type counts as absent.
    Raises ValueError if one of these two is missing, or if the id is no plain short text.
    """
    identifier, status = payload.get("id"), payload.get("status")
    if not isinstance(identifier, str) or not identifier or not isinstance(status, str):
        raise ValueError("not a prediction: id or status is missing")
    if not (identifier.isascii() and identifier.isprintable() and identifier.strip()):
        raise ValueError("not a prediction: the id is not plain text")
    if len(identifier) > _MAX_ID_CHARACTERS:
        raise ValueError("not a prediction: the id is too long")
    metrics, inputs, logs = payload.get("metrics"), payload.get("input"), payload.get("logs")
    predict_time = metrics.get("predict_time") if isinstance(metrics, Mapping) else None
    texts = _texts(payload.get("output"))
    urls = [text for text in texts if text.lower().startswith(_URL_SCHEMES)]
    return Prediction(
        id=identifier,
        status=status,
        # A model may add a mask or a report to its picture.
        output_urls=tuple(sorted(urls, key=_is_no_picture)),
        output_text="" if urls else "\n".join(texts)[:_MAX_LOG_CHARACTERS],
        error=storable_text(str(payload.get("error") or "")),
        logs=storable_text(logs)[-_MAX_LOG_CHARACTERS:] if isinstance(logs, str) else "",
        predict_time_seconds=_number(predict_time),
        created_at=_time(payload.get("created_at")),
        completed_at=_time(payload.get("completed_at")),
        input=dict(inputs) if isinstance(inputs, Mapping) else {},
        data_removed=payload.get("data_removed") is True,
    )


def _texts(value: Any) -> list[str]:
    """Return all texts in a JSON value, in order: each model has a shape of output of its own.

    Without recursion, since it may nest deeply.
    """
    texts: list[str] = []
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            texts.append(storable_text(value.strip()))
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


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


def _time(value: Any) -> datetime | None:
    """Read an ISO time with any number of decimals; without a zone it is none of Replicate's."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None


def classify_prediction_failure(prediction: Prediction, *, vendor: str = VENDOR) -> ProviderError:
    """Return the error that an ended prediction without usable output means.

    A failure of unknown wording is transient: in practice these are faults of a GPU host, a
    retry costs one more picture, and the row's attempts bound it. A prediction that was canceled
    or aborted, or whose output is gone, needs a new one as well. A success without an image is
    paid for, and the next one may be as well. Raises ValueError for a prediction that still runs.
    """
    if not prediction.is_terminal:
        raise ValueError(f"prediction {prediction.id} has not ended ({prediction.status})")
    was_stopped = prediction.status in (CANCELED, ABORTED)
    refusal = "" if was_stopped else _refusal(prediction)
    kind: type[ProviderError] = TransientError
    why = prediction.error or refusal or "no error text"
    if refusal:
        kind = ContentPolicyError
    elif prediction.is_succeeded and prediction.data_removed:
        why = "its output is deleted by now"
    elif prediction.is_succeeded:
        kind, why = NoImageError, "its output holds no image"
    elif not was_stopped and _INVALID_INPUT in (prediction.error or prediction.logs).lower():
        kind = InvalidRequestError
    text = f"{vendor}: prediction {prediction.id} {prediction.status}: {why[:500]}"
    return kind(text, vendor=vendor, code=prediction.status)


def _refusal(prediction: Prediction) -> str:
    """Return the sentence by which moderation refused, or an empty text.

    Output and logs decide only where the error says nothing: logs may quote the prompt.
    """
    prompt = str(prediction.input.get("prompt", ""))
    if prediction.error:
        return find_refusal(prediction.error, prompt=prompt)
    said = find_refusal(prediction.output_text, prompt=prompt)
    return said or find_refusal(prediction.logs, prompt=prompt, in_logs=True)


def bytes_with_image(max_image_bytes: int) -> int:
    """Return how large a reply may be that holds an image of so many bytes in base64."""
    return max_image_bytes * 4 // 3 + REPLY_BYTES


class ReplicateClient:
    """Makes, reads, lists and cancels predictions of REPLICATE_MODEL_VERSION."""

    def __init__(self) -> None:
        """The setting is `owner/name`, `owner/name:version` or a version, 64 hex digits."""
        model = settings.REPLICATE_MODEL_VERSION
        version = model.rpartition(":")[2]
        self._model = {"version": version} if _VERSION.fullmatch(version) else {"model": model}
        self._api_token = settings.REPLICATE_API_TOKEN
        # Replicate itself ends a prediction then, should nobody of us be there to do it.
        minutes = math.ceil(settings.GENERATION_TIMEOUT_SECONDS / 60)
        self._headers = {"Cancel-After": f"{minutes}m"}
        self._http = HttpClient(
            vendor=VENDOR,
            base_url=settings.REPLICATE_BASE_URL.rstrip("/").removesuffix("/v1"),
            read_fault=_read_fault,
            max_bytes=bytes_with_image(settings.IMAGE_MAX_BYTES),
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
            return self._prediction(
                lambda sdk: sdk.predictions.create(input=dict(input), **options),
                idempotent=False,
                send_by=send_by,
            )
        except InvalidRequestError as error:
            if error.status != 404:
                raise
            # The model itself is unknown: every other token would meet the same answer.
            raise AccountError(
                f"{error} Check REPLICATE_MODEL_VERSION.",
                vendor=VENDOR,
                status=404,
                code="model_not_found",
                said=error.said,
            ) from None

    def get_prediction(self, prediction_id: str) -> Prediction:
        """Return a prediction as it is now.

        Raises InvalidRequestError with status 404 if Replicate does not know it (any more).
        """
        known = quote(prediction_id, safe="")
        return self._prediction(lambda sdk: sdk.predictions.get(known), idempotent=True)

    def cancel_prediction(self, prediction_id: str) -> Prediction:
        known = quote(prediction_id, safe="")
        return self._prediction(lambda sdk: sdk.predictions.cancel(known), idempotent=True)

    def prediction_pages(
        self, *, created_after: datetime | None = None, created_before: datetime | None = None
    ) -> Iterator[list[Prediction]]:
        """Give the pages of the account's listing, 100 each, newest first, until it ends.

        The bounds (aware times) are asked for, and not checked. Items may lack `input` and
        `output`: read the prediction by its id for these. Entries that cannot be read are left
        out. Raises AccountError, InvalidRequestError and TransientError.
        """
        bounds = {"created_after": created_after, "created_before": created_before}
        bound = {
            name: f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
            for name, moment in bounds.items()
            if moment
        }
        following: Any = "?"
        while isinstance(following, str) and following:
            # Only the query of `next` is taken: the token goes to our own base URL, nowhere else.
            page = self._page({**bound, **dict(parse_qsl(urlsplit(following).query))})
            yield _readable(page["results"])
            following = page.get("next")

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        # The SDK knows no filter, but takes a cursor for what it is: the rest of a URL.
        cursor: Any = f"/v1/predictions?{urlencode(query)}"
        reply = self._reply_to(lambda sdk: sdk.predictions.list(cursor), idempotent=True)
        page = reply.json_object()
        if not isinstance(page.get("results"), list):
            raise bad_reply(VENDOR, "the listing", reply, idempotent=True, why="no results")
        return page

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
        secret = reply.json_object().get("key")
        if not isinstance(secret, str) or not secret:
            raise TransientError(f"{VENDOR}: the answer holds no signing key", vendor=VENDOR)
        register_secret(secret)
        return secret

    def _prediction(
        self, call: Callable[[replicate.Client], Any], *, idempotent: bool, **options: Any
    ) -> Prediction:
        reply = self._reply_to(call, idempotent=idempotent, **options)
        try:
            return parse_prediction(reply.json_object())
        except ValueError:
            what, why = "predictions", "no prediction"
            raise bad_reply(VENDOR, what, reply, idempotent=idempotent, why=why) from None

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
            transport=cast("httpx.BaseTransport", transport),
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


class _Transport:
    """A transport of httpx by its one method: importing its base takes 40 ms of CPU."""

    def __init__(self, http: HttpClient, options: Mapping[str, Any]) -> None:
        self._http, self._options = http, options

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        sent = ("Authorization", "Content-Type", "Cancel-After")
        reply = self._http.call(
            request.method,
            path,
            params=query,
            data=request.read(),
            headers={name: request.headers[name] for name in sent if name in request.headers},
            **self._options,
        )
        raise _Answered(reply)


def _read_fault(reply: Reply) -> Fault:
    """Read Replicate's error body (RFC 7807: title, detail, status; 429 adds retry_after).

    "Invalid version or not permitted" (422) is what a wrong model version, a private model and an
    account without a payment method get: a fault of the account, not of the token's prompt.
    """
    answer = reply.json_object()
    title, detail = answer.get("title"), answer.get("detail")
    parts = [part.strip() for part in (title, detail) if isinstance(part, str) and part.strip()]
    text = ": ".join(parts) or reply.excerpt()
    if reply.status in REFUSING_STATUSES and find_refusal(text):
        return Fault(text, code="moderation", kind=ContentPolicyError)
    if title == "Invalid version or not permitted":
        return Fault(text, code="model_version", kind=AccountError)
    wait = _number(answer.get("retry_after"))
    return Fault(text, retry_after_seconds=None if wait is None else bounded_seconds(wait))


def _readable(items: list[Any]) -> list[Prediction]:
    found = []
    for item in items:
        with contextlib.suppress(ValueError):
            found.append(parse_prediction(item if isinstance(item, dict) else {}))
    return found

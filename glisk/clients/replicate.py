"""Replicate's HTTP API (https://replicate.com/docs/reference/http).

The official SDK (replicate 1.0.7) is used where it is sound for an unattended worker, which is
the one call in `fetch_webhook_secret`. The predictions go through our own HTTP client, because in
the SDK

- `predictions.create()` without `wait` sets no timeout at all: a worker can hang for ever;
- a lost reply cannot be told from a refused connection without knowing httpx's exceptions, and
  Retry-After is not kept on the error, though a paid call depends on both;
- one prediction with status `aborted` raises a pydantic ValidationError, in a listing for the
  whole page, and listings cannot be limited by time;
- reads are retried inside, up to 10 times and for as long as Retry-After says, in a thread that
  should be doing other work;
- `FileOutput.read()` sends the API token to whatever host the output URL names;
- importing it costs 0.1 s and 25 MB in every process.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Self
from urllib.parse import parse_qsl, quote, urlsplit

from glisk.clients.data_uri import bytes_with_image
from glisk.clients.http import HttpClient, HttpOptions
from glisk.clients.http_errors import Fault, Reply, bad_reply, bounded_seconds
from glisk.clients.moderation import REFUSING_STATUSES, find_refusal
from glisk.clients.replicate_model import ModelReference
from glisk.clients.replicate_prediction import (
    VENDOR,
    Prediction,
    classify_prediction_failure,
    parse_prediction,
)
from glisk.clients.replicate_webhook import WebhookSignatureError, sign_webhook, verify_webhook
from glisk.clock import ClockReading
from glisk.errors import AccountError, ContentPolicyError, InvalidRequestError, ProviderError
from glisk.logging.redaction import register_secret

__all__ = [
    "ModelReference",
    "Prediction",
    "ReplicateClient",
    "WebhookSignatureError",
    "classify_prediction_failure",
    "parse_prediction",
    "sign_webhook",
    "verify_webhook",
]

DEFAULT_BASE_URL: Final = "https://api.replicate.com"


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
        """Raise ValueError if the token is empty or the model is not a model's name.

        `max_image_bytes`: how large an image inside a prediction may be, as a data URI.

        `cancel_after_seconds`: Replicate itself ends a prediction after so long, rounded up to
        whole minutes, should nobody of us be there to do it.
        """
        if not api_token:
            raise ValueError("REPLICATE_API_TOKEN must be set")
        register_secret(api_token)
        self.model = ModelReference.parse(model)
        self._api_token = api_token
        minutes = math.ceil((cancel_after_seconds or 0) / 60)
        self._create_headers = {"Cancel-After": f"{minutes}m"} if minutes else {}
        self._options = options or HttpOptions()
        self._max_bytes = bytes_with_image(max_image_bytes)
        self._http = HttpClient(
            vendor=VENDOR,
            base_url=base_url.rstrip("/").removesuffix("/v1"),
            headers={"Authorization": f"Bearer {api_token}"},
            options=self._options,
            read_fault=read_replicate_fault,
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

        Keys of `input` whose value is None are left out, since Replicate refuses null. The API
        knows no idempotency key: UnknownOutcomeError means that the prediction may exist and be
        charged, and must be looked for (`prediction_pages`, the webhook) before another is made.
        Also raises ContentPolicyError, InvalidRequestError, AccountError and TransientError.
        """
        body: dict[str, Any] = {"input": without_nulls(input)}
        path = "/v1/predictions"
        if self.model.version is not None:
            body["version"] = self.model.version
        else:
            path = f"/v1/models/{self.model.name}/predictions"
        if webhook_url:
            body["webhook"] = webhook_url
            body["webhook_events_filter"] = ["completed"]
        try:
            reply = self._http.call(
                "POST",
                path,
                idempotent=False,
                json_body=body,
                headers=self._create_headers,
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
        return _read_prediction(reply, f"POST {path}", idempotent=False)

    def get_prediction(self, prediction_id: str) -> Prediction:
        """Return a prediction as it is now.

        Raises InvalidRequestError with reason "not_found" if Replicate does not know it (any
        more).
        """
        path = f"/v1/predictions/{quote(prediction_id, safe='')}"
        reply = self._http.call("GET", path, idempotent=True, max_bytes=self._max_bytes)
        return _read_prediction(reply, f"GET {path}", idempotent=True)

    def cancel_prediction(self, prediction_id: str) -> Prediction:
        """Cancel a prediction and return it; one that has ended is returned as it is."""
        path = f"/v1/predictions/{quote(prediction_id, safe='')}/cancel"
        reply = self._http.call("POST", path, idempotent=True, max_bytes=self._max_bytes)
        return _read_prediction(reply, f"POST {path}", idempotent=True)

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
            reply = self._http.call("GET", "/v1/predictions", idempotent=True, params=params)
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
        return self._http.clock

    def probe(self) -> None:
        """Check the token by reading the account; raise AccountError or TransientError."""
        self._http.call("GET", "/v1/account", idempotent=True)

    def fetch_webhook_secret(self) -> str:
        """Return the account's webhook signing key (`whsec_…`), by the official SDK.

        For the operator who sets up or checks REPLICATE_WEBHOOK_SECRET; never on a worker's
        path, since the SDK sleeps and retries inside. Raises AccountError or TransientError.
        """
        from glisk.clients.replicate_sdk import read_webhook_secret

        secret = read_webhook_secret(
            api_token=self._api_token, base_url=self._http.base_url, options=self._options
        )
        register_secret(secret)
        return secret


def read_replicate_fault(reply: Reply) -> Fault:
    """Read Replicate's error body (RFC 7807: title, detail, status; 429 adds retry_after).

    "Invalid version or not permitted" (422) is what a wrong model version, a private model and an
    account without a payment method get: a fault of the account, not of the token's prompt.
    """
    answer = reply.json_object() or {}
    title, detail = answer.get("title"), answer.get("detail")
    parts = [part.strip() for part in (title, detail) if isinstance(part, str) and part.strip()]
    text = ": ".join(parts) or reply.excerpt()
    wait = answer.get("retry_after")
    if isinstance(wait, bool) or not isinstance(wait, int | float):
        wait = None
    kind: type[ProviderError] | None = None
    code = None
    if reply.status in REFUSING_STATUSES and find_refusal(text):
        kind, code = ContentPolicyError, "moderation"
    elif title == "Invalid version or not permitted":
        kind, code = AccountError, "model_version"
    return Fault(
        detail=text,
        code=code,
        kind=kind,
        retry_after_seconds=bounded_seconds(wait) if wait is not None else None,
    )


def without_nulls(value: Any) -> Any:
    """Return a copy of a JSON value without the object keys whose value is None."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


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

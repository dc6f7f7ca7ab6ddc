"""An image server of our own that speaks Cog's HTTP API.

https://github.com/replicate/cog/blob/main/docs/http.md, checked against cog 0.23.1. A prediction
is made by `PUT /predictions/<id>` and answered when it has ended, with the images as data URIs or
URLs. The id is ours, so that a call whose reply was lost may be made again: while the prediction
runs, the server answers 202 instead of starting another one. There is no way to read a prediction
later, and webhooks are not signed: hence the synchronous call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from django.conf import settings

from glisk.clients.http import Fault, HttpClient, HttpOptions, Reply, bad_reply
from glisk.clients.moderation import REFUSING_STATUSES, find_refusal
from glisk.clients.replicate import Prediction, bytes_with_image, parse_prediction
from glisk.errors import (
    AccountError,
    ContentPolicyError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)

VENDOR: Final = "selfhosted"

_BUSY_SECONDS: Final = 1.0
_SHORT_SECONDS: Final = 5.0  # for what is answered without a picture


class SelfhostedClient:
    """Makes predictions at SELFHOSTED_IMAGE_API_URL."""

    def __init__(self) -> None:
        token = settings.SELFHOSTED_IMAGE_API_TOKEN
        self._http, self._short = (
            HttpClient(
                vendor=VENDOR,
                base_url=settings.SELFHOSTED_IMAGE_API_URL,
                headers={"Authorization": f"Bearer {token}"} if token else None,
                options=HttpOptions.from_settings(longest=longest),
                read_fault=_read_fault,
                max_bytes=bytes_with_image(settings.IMAGE_MAX_BYTES),
            )
            for longest in (settings.GENERATION_TIMEOUT_SECONDS, _SHORT_SECONDS)
        )

    def create_prediction(
        self,
        *,
        input: Mapping[str, Any],  # noqa: A002 - the vendor's own word for it
        prediction_id: str,
    ) -> Prediction:
        """Make one prediction and return it when it has ended, well or not.

        May be called again with the same id. Raises UnknownOutcomeError if it may be running
        (lost reply, time-out, a second call while the first runs), AccountError for anything that
        every other prediction would meet as well, and TransientError.
        """
        path = f"/predictions/{quote(prediction_id, safe='')}"
        try:
            body = {"input": dict(input)}
            reply = self._http.call("PUT", path, idempotent=False, json_body=body)
        except UnknownOutcomeError as error:
            if error.code == "timeout":
                self._cancel(path)
            raise
        try:
            # Old servers do not repeat the id.
            prediction = parse_prediction({"id": prediction_id, **reply.json_object()})
            if prediction.id != prediction_id:
                raise ValueError("another prediction")
        except ValueError:
            why = "no prediction of this id"
            raise bad_reply(VENDOR, f"PUT {path}", reply, idempotent=False, why=why) from None
        if not prediction.is_terminal:
            raise UnknownOutcomeError(
                f"{VENDOR}: {prediction_id} is still running there. It is asked again.",
                vendor=VENDOR,
                status=reply.status,
                code="running",
            )
        return prediction

    def health(self) -> str:
        """Return the server's own word for its state, READY or BUSY.

        Raises AccountError if the token is refused, InvalidRequestError if this is no Cog server,
        TransientError if it does not answer, or cannot serve yet.
        """
        reply = self._short.call("GET", "/health-check", idempotent=True)
        state = str(reply.json_object().get("status"))
        if state not in ("READY", "BUSY"):
            text = f"{VENDOR}: the server is {state[:50]}: look at its log."
            raise TransientError(text, vendor=VENDOR)
        return state

    def _cancel(self, path: str) -> None:
        """Free the server's place: nobody waits for this picture any more."""
        with contextlib.suppress(ProviderError):
            self._short.call("POST", f"{path}/cancel", idempotent=True)


def _read_fault(reply: Reply) -> Fault:
    """Read Cog's error body: `error`, or `detail` as a text or a list of faults of the input.

    Prompts are checked before the call, so a refused input or an unknown path is a fault of the
    server's configuration (a model without `prompt` or `seed`): every token would meet it.
    """
    answer = reply.json_object()
    detail = str(answer.get("error") or answer.get("detail") or reply.excerpt())
    if reply.status == 409:  # all places are taken: like a rate limit, no fault of the server
        return Fault(detail, "busy", TransientError, _BUSY_SECONDS, rate_limited=True)
    if reply.status in REFUSING_STATUSES and find_refusal(detail):
        return Fault(detail, code="moderation", kind=ContentPolicyError)
    if reply.status in (400, 404, 405, 422):
        return Fault(detail, code="unfit_model", kind=AccountError)
    if reply.status == 503 and answer:  # Cog itself, before it takes the call: it is starting
        return Fault(detail, kind=TransientError)
    return Fault(detail)


def output_hosts(base_url: str) -> list[str]:
    """Return the only host that images of this server may be fetched from (image_download)."""
    parts = urlsplit(base_url)
    return [f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"]

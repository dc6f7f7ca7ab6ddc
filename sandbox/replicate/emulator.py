"""Emulate the part of Replicate's HTTP API that image generation uses."""

from __future__ import annotations

import functools
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from sandbox.http import Emulator, Request, Response, json_response
from sandbox.http.emulator import Handler
from sandbox.http.ratelimit import RateLimit
from sandbox.paint import Painter
from sandbox.replicate import orders
from sandbox.replicate.desk import Desk, Pace
from sandbox.replicate.foreign import foreign_prediction
from sandbox.replicate.listing import list_predictions
from sandbox.replicate.outcomes import ReplicateFaults
from sandbox.replicate.pictures import CONTENT_TYPES, PictureRoom
from sandbox.replicate.predictions import Prediction
from sandbox.replicate.webhooks import Delivery, WebhookSender

SANDBOX_TOKEN = "r8_sandbox_0000000000000000000000000000000"
SANDBOX_WEBHOOK_SECRET = "whsec_Z2xpc2stc2FuZGJveC1yZXBsaWNhdGUtc2VjcmV0"


class ReplicateEmulator(Emulator):
    """Accept predictions, serve their images, send webhooks, write the bill."""

    name = "replicate"
    faults_class = ReplicateFaults

    def __init__(
        self,
        *,
        token: str = SANDBOX_TOKEN,
        webhook_secret: str = SANDBOX_WEBHOOK_SECRET,
        generation_seconds: float | tuple[float, float] = 1.0,
        start_seconds: float | tuple[float, float] = 0.0,
        concurrency: int = 0,
        retention_seconds: float = Pace.retention,
        run_limit_seconds: float = Pace.run_limit,
        delivery_url: str = "",
        state_dir: Path | str | None = None,
        painter: Painter | None = None,
        webhook_attempts: int = 4,
        webhook_retry_seconds: float = 1.0,
        webhook_timeout_seconds: float = 10.0,
        **common: Any,
    ) -> None:
        """Prepare the emulator; durations are seconds, a pair is a range to draw from.

        `delivery_url` replaces this server's own address in the URLs of files; `concurrency` 0
        runs everything at once; with `state_dir` predictions outlive the process. For `common`
        see `Emulator`.
        """
        super().__init__(**common)
        self._token = token
        self._webhook_secret = webhook_secret
        self._delivery_url = delivery_url.rstrip("/")
        self._pictures = PictureRoom(painter or Painter())
        self._creations = RateLimit()
        self._sender: WebhookSender | None = None
        self._new_sender = functools.partial(
            WebhookSender,
            webhook_secret,
            attempts=webhook_attempts,
            retry_seconds=webhook_retry_seconds,
            timeout_seconds=webhook_timeout_seconds,
        )
        self._desk = Desk(
            pace=Pace(
                generation=_range(generation_seconds),
                start=_range(start_seconds),
                run_limit=run_limit_seconds,
                retention=retention_seconds,
                concurrency=concurrency,
            ),
            plan=self.plan,
            faults=lambda: self._settings,
            bill=self.bill,
            pictures=self._pictures,
            state_dir=Path(state_dir) if state_dir else None,
            addresses=lambda: (self.url, self._delivery_url or f"{self.url}/delivery"),
        )

    def routes(self) -> list[tuple[str, str, Handler]]:
        prediction = r"/v1/predictions/([a-z0-9]+)"
        file = r"/delivery/xezq/([\w-]+)/(out-\d\.(webp|jpg|png))"
        create = self._create
        return [
            ("POST", r"/v1/models/([\w.-]+/[\w.-]+)/predictions", self._for_account(create)),
            ("POST", r"/v1/predictions", self._for_account(create)),
            ("GET", r"/v1/predictions", self._for_account(self._list)),
            ("GET", prediction, self._for_account(self._get)),
            ("POST", prediction + "/cancel", self._for_account(self._cancel)),
            ("GET", r"/v1/webhooks/default/secret", self._for_account(self._secret)),
            ("GET", r"/v1/account", self._for_account(self._account)),
            ("GET", file, self._file),
            ("HEAD", file, self._file),
        ]

    # --- life cycle ---

    async def on_start(self) -> None:
        assert self._loop is not None
        loop = self._loop

        def later(seconds: float, call: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(loop.call_later, seconds, call)

        self._sender = self._new_sender(later)
        self._desk.open(self._sender)

    async def on_stop(self) -> None:
        self._desk.close()
        self._pictures.close()
        if self._sender is not None:
            self._sender.close()

    def on_reset(self) -> None:
        self._desk.clear()
        self._creations = RateLimit()
        if self._sender is not None:
            self._sender.deliveries.clear()

    def control(self, request: Request, action: str) -> Response | None:
        if (request.method, action) == ("GET", "deliveries"):
            return json_response({"deliveries": [asdict(d) for d in self.deliveries]})
        if (request.method, action) == ("GET", "predictions"):
            return json_response({"predictions": [asdict(p) for p in self.predictions]})
        return None

    @property
    def deliveries(self) -> list[Delivery]:
        """Return every attempt to deliver a webhook."""
        return list(self._sender.deliveries) if self._sender else []

    @property
    def predictions(self) -> list[Prediction]:
        """Return all predictions, the oldest first."""
        return list(self._desk.store)

    @property
    def _settings(self) -> ReplicateFaults:
        return cast(ReplicateFaults, self.faults)

    # --- the vendor's replies to faults ---

    def throttled(self, retry_after_seconds: int) -> Response:
        return orders.throttled(retry_after_seconds)

    def not_found(self, request: Request) -> Response:
        return orders.not_found()

    # --- the API ---

    def _for_account(self, handler: Handler) -> Handler:
        """Let only the account's token through to a handler."""

        def answer(request: Request, *groups: str) -> Any:
            given = request.headers.get("authorization", "").encode()
            if not secrets.compare_digest(given, f"Bearer {self._token}".encode()):
                return orders.unauthenticated()
            return handler(request, *groups)

        return answer

    async def _create(self, request: Request, model_name: str | None = None) -> Response:
        try:
            order = orders.read_order(request, model_name)
        except orders.Refused as refusal:
            return refusal.response
        refused = self._refused_by_account()
        if refused is not None:
            return refused
        prediction = self._desk.accept(order)
        request.subject = prediction.id
        first_look = self._desk.show(prediction)
        if order.wait_seconds:
            await self._desk.lifecycle.wait(prediction, order.wait_seconds)
            first_look = self._desk.show(prediction)
        return json_response(first_look, 201)

    def _refused_by_account(self) -> Response | None:
        refusal = self._settings.account_refusal
        if refusal == "invalid_version":
            return orders.invalid_version()
        if refusal:
            return orders.payment_required(refusal)
        faults = self._settings
        if not self._creations.allow(faults.creations_per_minute, faults.creations_burst):
            return self.throttled(max(1, math.ceil(self._creations.resets_at - time.time())))
        return None

    def _get(self, request: Request, prediction_id: str) -> Response:
        prediction = self._desk.store.get(prediction_id) or foreign_prediction(prediction_id)
        if prediction is None:
            return orders.not_found()
        request.subject = prediction.id
        return json_response(self._desk.show(prediction))

    def _cancel(self, request: Request, prediction_id: str) -> Response:
        prediction = self._desk.store.get(prediction_id)
        if prediction is None:
            return orders.not_found()
        request.subject = prediction.id
        self._desk.lifecycle.cancel(prediction)
        return json_response(self._desk.show(prediction))

    def _list(self, request: Request) -> Response:
        return list_predictions(
            request, self._desk.newest_first(), self.url, self._desk.show, self._settings
        )

    def _secret(self, request: Request) -> Response:
        return json_response({"key": self._webhook_secret})

    def _account(self, request: Request) -> Response:
        return json_response(
            {
                "type": "organization",
                "username": "glisk-sandbox",
                "name": "GLISK sandbox",
                "github_url": "https://github.com/glisk-sandbox",
            }
        )

    async def _file(self, request: Request, token: str, name: str, extension: str) -> Response:
        found = self._desk.find_file(token, name)
        if found is None:
            return Response(404, b"Not Found", {"Content-Type": "text/plain"})
        prediction, order = found
        request.subject = prediction.id
        content = await self._pictures.fetch(order)
        content_type = "text/html" if order.garbage == "html" else CONTENT_TYPES[extension]
        return Response(200, content, {"Content-Type": content_type})


def _range(seconds: float | tuple[float, float]) -> tuple[float, float]:
    return seconds if isinstance(seconds, tuple) else (float(seconds), float(seconds))

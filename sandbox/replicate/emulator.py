"""Emulate the part of Replicate's HTTP API that image generation uses."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from sandbox.http import BillEntry, Emulator, Request, Response, json_response
from sandbox.http.emulator import Handler
from sandbox.paint import Painter
from sandbox.replicate import orders
from sandbox.replicate.lifecycle import Lifecycle
from sandbox.replicate.listing import list_predictions
from sandbox.replicate.models import MODELS, Model
from sandbox.replicate.outcomes import ReplicateFaults, decide, error_text, log_text
from sandbox.replicate.pictures import CONTENT_TYPES, FileOrder, PictureRoom
from sandbox.replicate.predictions import Prediction, PredictionStore, new_id
from sandbox.replicate.webhooks import Delivery, WebhookSender

SANDBOX_TOKEN = "r8_sandbox_0000000000000000000000000000000"
SANDBOX_WEBHOOK_SECRET = "whsec_Z2xpc2stc2FuZGJveC1yZXBsaWNhdGUtc2VjcmV0"
RETENTION_SECONDS = 3600.0
RUN_LIMIT_SECONDS = 1800.0
LARGEST_SEED = 2**32 - 1


class ReplicateEmulator(Emulator):
    """Accept predictions, paint their images, send webhooks, write the bill."""

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
        retention_seconds: float = RETENTION_SECONDS,
        run_limit_seconds: float = RUN_LIMIT_SECONDS,
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
        runs everything at once. For `common` see `Emulator`.
        """
        self._sender: WebhookSender | None = None
        self._store = PredictionStore(Path(state_dir) if state_dir else None)
        super().__init__(**common)
        self._token = token
        self._webhook_secret = webhook_secret
        self.generation_seconds = _range(generation_seconds)
        self.start_seconds = _range(start_seconds)
        self.retention_seconds = retention_seconds
        self.run_limit_seconds = run_limit_seconds
        self._delivery_url = delivery_url.rstrip("/")
        self._lifecycle = Lifecycle(self._finish, self._changed, concurrency)
        self._pictures = PictureRoom(painter or Painter())
        self._webhook_options = {
            "attempts": webhook_attempts,
            "retry_seconds": webhook_retry_seconds,
            "timeout_seconds": webhook_timeout_seconds,
        }

    def routes(self) -> list[tuple[str, str, Handler]]:
        prediction = r"/v1/predictions/([a-z0-9]+)"
        return [
            ("POST", r"/v1/models/([\w.-]+/[\w.-]+)/predictions", self._create),
            ("POST", r"/v1/predictions", self._create),
            ("GET", r"/v1/predictions", self._list),
            ("GET", prediction, self._get),
            ("POST", prediction + "/cancel", self._cancel),
            ("GET", r"/v1/webhooks/default/secret", self._secret),
            ("GET", r"/v1/account", self._account),
            ("GET", r"/delivery/xezq/([\w-]+)/out-(\d)\.(webp|jpg|png)", self._file),
            ("HEAD", r"/delivery/xezq/([\w-]+)/out-(\d)\.(webp|jpg|png)", self._file),
        ]

    # --- life cycle ---

    async def on_start(self) -> None:
        assert self._loop is not None
        loop = self._loop

        def later(seconds: float, call: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(loop.call_later, seconds, call)

        self._sender = WebhookSender(
            self._webhook_secret,
            later,
            attempts=int(self._webhook_options["attempts"]),
            retry_seconds=self._webhook_options["retry_seconds"],
            timeout_seconds=self._webhook_options["timeout_seconds"],
        )
        for prediction in self._store:
            self._charge(prediction)
            if not prediction.terminal:
                self._lifecycle.accept(prediction)

    async def on_stop(self) -> None:
        self._lifecycle.clear()
        self._pictures.close()
        if self._sender is not None:
            self._sender.close()
        self._store.close()

    def on_reset(self) -> None:
        self._lifecycle.clear()
        self._store.clear()

    def control(self, request: Request, action: str) -> Response | None:
        if (request.method, action) == ("GET", "deliveries"):
            return json_response({"deliveries": [asdict(d) for d in self.deliveries]})
        if (request.method, action) == ("GET", "predictions"):
            return json_response({"predictions": [asdict(p) for p in self._store]})
        return None

    @property
    def deliveries(self) -> list[Delivery]:
        """Return every attempt to deliver a webhook."""
        return list(self._sender.deliveries) if self._sender else []

    @property
    def predictions(self) -> list[Prediction]:
        """Return all predictions, the oldest first."""
        return list(self._store)

    # --- the vendor's replies to faults ---

    def throttled(self, retry_after_seconds: int) -> Response:
        return orders.throttled(retry_after_seconds)

    def not_found(self, request: Request) -> Response:
        return orders.not_found()

    # --- the API ---

    def _authenticated(self, request: Request) -> bool:
        header = request.headers.get("authorization", "").encode()
        return secrets.compare_digest(header, f"Bearer {self._token}".encode())

    @property
    def _settings(self) -> ReplicateFaults:
        return cast(ReplicateFaults, self.faults)

    async def _create(self, request: Request, model_name: str | None = None) -> Response:
        if not self._authenticated(request):
            return orders.unauthenticated()
        try:
            order = orders.read_order(request, model_name)
        except orders.Refused as refusal:
            return refusal.response
        account_refusal = self._settings.account_refusal
        if account_refusal == "invalid_version":
            return orders.invalid_version()
        if account_refusal:
            return orders.payment_required(account_refusal)
        prediction = self._accept(order)
        request.subject = prediction.id
        first_look = self._show(prediction)
        if order.wait_seconds:
            await self._lifecycle.wait(prediction, order.wait_seconds)
            first_look = self._show(prediction)
        return json_response(first_look, 201)

    def _accept(self, order: orders.Order) -> Prediction:
        now = time.time()
        images = order.model.setting(order.input, "num_outputs")
        outcome = decide(self.plan, self._settings, order.input["prompt"], images)
        given_seed = order.input.get("seed")
        prediction = Prediction(
            id=new_id(),
            model=order.model.name,
            version=order.model.version,
            input=order.input,
            created_at=now,
            deadline_at=now + (order.cancel_after_seconds or self.run_limit_seconds),
            start_seconds=self.plan.seconds("start", self.start_seconds),
            run_seconds=self.plan.seconds("generation", self.generation_seconds),
            seed=secrets.randbelow(LARGEST_SEED) if given_seed is None else given_seed,
            outcome=outcome.name,
            unsafe_images=list(outcome.unsafe),
            garbage=outcome.garbage,
            webhook=order.webhook,
            webhook_events=order.webhook_events,
        )
        self._store.save(prediction)
        self._charge(prediction)
        self._lifecycle.accept(prediction)
        if prediction.outcome == "succeeded":
            for index in self._safe_images(prediction):
                self._pictures.order(self._file_order(prediction, index))
        return prediction

    def _charge(self, prediction: Prediction) -> None:
        model = _model_of(prediction)
        images = model.setting(prediction.input, "num_outputs")
        self.bill.add(
            BillEntry(
                at=prediction.created_at,
                subject=prediction.id,
                key=json.dumps(prediction.input, sort_keys=True, ensure_ascii=False),
                price_usd=round(model.price_usd * images, 6),
                detail={"model": prediction.model, "webhook": prediction.webhook},
            )
        )

    def _get(self, request: Request, prediction_id: str) -> Response:
        if not self._authenticated(request):
            return orders.unauthenticated()
        prediction = self._store.get(prediction_id)
        if prediction is None:
            return orders.not_found()
        request.subject = prediction.id
        return json_response(self._show(prediction))

    def _cancel(self, request: Request, prediction_id: str) -> Response:
        if not self._authenticated(request):
            return orders.unauthenticated()
        prediction = self._store.get(prediction_id)
        if prediction is None:
            return orders.not_found()
        request.subject = prediction.id
        self._lifecycle.cancel(prediction)
        return json_response(self._show(prediction))

    def _list(self, request: Request) -> Response:
        if not self._authenticated(request):
            return orders.unauthenticated()
        return list_predictions(request, self._store.newest_first(), self.url, self._removed)

    def _secret(self, request: Request) -> Response:
        if not self._authenticated(request):
            return orders.unauthenticated()
        return json_response({"key": self._webhook_secret})

    def _account(self, request: Request) -> Response:
        if not self._authenticated(request):
            return orders.unauthenticated()
        return json_response(
            {
                "type": "organization",
                "username": "glisk-sandbox",
                "name": "GLISK sandbox",
                "github_url": "https://github.com/glisk-sandbox",
            }
        )

    # --- files ---

    async def _file(self, request: Request, token: str, index: str, extension: str) -> Response:
        prediction = self._store.by_file_token(token)
        if (
            prediction is None
            or self._removed(prediction)
            or not any(url.endswith(f"/out-{index}.{extension}") for url in prediction.output or [])
        ):
            return Response(404, b"Not Found", {"Content-Type": "text/plain"})
        request.subject = prediction.id
        content = await self._pictures.fetch(
            self._file_order(prediction, self._safe_images(prediction)[int(index)])
        )
        content_type = "text/html" if prediction.garbage == "html" else CONTENT_TYPES[extension]
        return Response(200, content, {"Content-Type": content_type})

    def _file_order(self, prediction: Prediction, image: int) -> FileOrder:
        model = _model_of(prediction)
        width, height = model.size(prediction.input)
        quality = model.setting(prediction.input, "output_quality")
        return FileOrder(
            prediction.input["prompt"],
            prediction.seed + image,
            width,
            height,
            model.output_format(prediction.input),
            80 if quality is None else quality,
            prediction.garbage,
        )

    @staticmethod
    def _safe_images(prediction: Prediction) -> list[int]:
        images = _model_of(prediction).setting(prediction.input, "num_outputs")
        return [index for index in range(images) if index not in prediction.unsafe_images]

    # --- what the life cycle tells ---

    def _finish(self, prediction: Prediction) -> None:
        model = _model_of(prediction)
        images = model.setting(prediction.input, "num_outputs")
        prediction.logs = log_text(
            prediction.outcome, prediction.seed, images, prediction.unsafe_images
        )
        prediction.error = error_text(model, prediction.outcome, self._settings)
        if prediction.error is not None:
            prediction.status = "failed"
            return
        prediction.status = "succeeded"
        base = self._delivery_url or f"{self.url}/delivery"
        extension = model.output_format(prediction.input)
        prediction.output = [
            f"{base}/xezq/{prediction.file_token}/out-{position}.{extension}"
            for position in range(len(self._safe_images(prediction)))
        ]

    def _changed(self, prediction: Prediction, event: str) -> None:
        self._store.save(prediction)
        if not prediction.webhook:
            return
        events = [event]
        if event == "completed":
            events = (["logs"] if prediction.logs else []) + (
                ["output"] if prediction.output else []
            ) + events
        for name in events:
            if name in prediction.webhook_events:
                self._notify(prediction, name)

    def _notify(self, prediction: Prediction, event: str) -> None:
        assert self._sender is not None
        settings, plan = self._settings, self.plan
        body = json.dumps(self._show(prediction)).encode()
        fault = ""
        if plan.chance("webhook-lost", settings.webhook_lost_rate):
            fault = "lost"
        elif plan.chance("webhook-forged", settings.webhook_forged_rate):
            fault = "forged"
        copies = 2 if plan.chance("webhook-duplicate", settings.webhook_duplicate_rate) else 1
        self._sender.send(
            prediction.webhook,
            body,
            prediction_id=prediction.id,
            event=event,
            delay_seconds=plan.seconds("webhook-delay", settings.webhook_delay_seconds),
            fault=fault,
            copies=copies,
        )

    def _show(self, prediction: Prediction) -> dict[str, Any]:
        return prediction.as_json(self.url, removed=self._removed(prediction))

    def _removed(self, prediction: Prediction) -> bool:
        return (
            prediction.completed_at is not None
            and time.time() - prediction.completed_at >= self.retention_seconds
        )


def _model_of(prediction: Prediction) -> Model:
    return next(model for model in MODELS if model.name == prediction.model)


def _range(seconds: float | tuple[float, float]) -> tuple[float, float]:
    return seconds if isinstance(seconds, tuple) else (float(seconds), float(seconds))

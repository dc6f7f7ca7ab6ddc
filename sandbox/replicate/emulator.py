"""Emulate the part of Replicate's HTTP API that image generation uses."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import dropwhile, islice, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from sandbox.http import SUBJECT, BillEntry, Emulator, RateLimit, json_response
from sandbox.http.emulator import Handler
from sandbox.paint import Painter
from sandbox.paint.painter import File, Pictures
from sandbox.replicate import creation
from sandbox.replicate.creation import Creation, Refused, read_creation
from sandbox.replicate.faults import OUTPUT_SHAPES, ReplicateFaults, decide, end_of
from sandbox.replicate.predictions import (
    Delivery,
    Prediction,
    PredictionStore,
    foreign_prediction,
    new_id,
    signed_headers,
)

SANDBOX_TOKEN = "r8_sandbox_0000000000000000000000000000000"
SANDBOX_WEBHOOK_SECRET = "whsec_Z2xpc2stc2FuZGJveC1yZXBsaWNhdGUtc2VjcmV0"
PAGE_SIZE = 100
RUN_LIMIT_SECONDS = 1800.0
RETENTION_SECONDS = 3600.0
WEBHOOK_ATTEMPTS = 4
WEBHOOK_TIMEOUT_SECONDS = 10.0


class ReplicateEmulator(Emulator[ReplicateFaults]):
    """Accept predictions, serve their images, send webhooks, write the bill."""

    name = "replicate"
    faults_class = ReplicateFaults

    def __init__(
        self,
        *,
        token: str = SANDBOX_TOKEN,
        webhook_secret: str = SANDBOX_WEBHOOK_SECRET,
        generation_seconds: float | tuple[float, float] = 1.0,
        state_dir: Path | str | None = None,
        painter: Painter | None = None,
        webhook_retry_seconds: float = 1.0,
        **common: Any,
    ) -> None:
        """Prepare the emulator; durations are seconds, a pair is a range to draw from.

        With `state_dir` predictions outlive the process. For `common` see `Emulator`.
        """
        super().__init__(**common)
        self._token = token
        self._webhook_secret = webhook_secret
        self._webhook_retry_seconds = webhook_retry_seconds
        self._generation_seconds = (
            generation_seconds
            if isinstance(generation_seconds, tuple)
            else (generation_seconds, generation_seconds)
        )
        self._pictures = Pictures(painter or Painter())
        self._creations = RateLimit()
        self._store = PredictionStore(Path(state_dir) if state_dir else None)
        self.deliveries: list[Delivery] = []

    def routes(self) -> list[web.RouteDef]:
        for_account = self._for_account
        prediction = "/v1/predictions/{id:[a-z0-9]+}"
        return [
            web.post("/v1/models/{model:[^/]+/[^/]+}/predictions", for_account(self._create)),
            web.post("/v1/predictions", for_account(self._create)),
            web.get("/v1/predictions", for_account(self._list)),
            web.get(prediction, for_account(self._get)),
            web.post(f"{prediction}/cancel", for_account(self._cancel)),
            web.get("/v1/webhooks/default/secret", for_account(self._secret)),
            web.get("/v1/account", for_account(self._account)),
            web.get("/delivery/xezq/{token}/out-0.webp", self._file),
            web.get("/_sandbox/predictions", self._show_predictions),
        ]

    async def on_start(self) -> None:
        """Go on with the predictions that an earlier process left."""
        for prediction in self._store.all():
            self._charge(prediction)
            if not prediction.terminal:
                self.spawn(self._run(prediction))

    async def on_stop(self) -> None:
        self._store.close()
        self._pictures.close()

    def on_reset(self) -> None:
        self._store.clear()
        self._creations = RateLimit()
        self.deliveries.clear()

    @property
    def predictions(self) -> list[Prediction]:
        return self._store.all()

    def throttled(self, retry_after_seconds: int) -> web.Response:
        return creation.throttled(retry_after_seconds)

    def not_found(self) -> web.Response:
        return creation.not_found()

    # --- the API ---

    def _for_account(self, handler: Handler) -> Handler:
        """Let only the account's token through to a handler."""

        async def answer(request: web.Request) -> web.StreamResponse:
            given = request.headers.get("Authorization", "").encode()
            if not secrets.compare_digest(given, f"Bearer {self._token}".encode()):
                return creation.unauthenticated()
            return await handler(request)

        return answer

    async def _create(self, request: web.Request) -> web.Response:
        try:
            wanted = await read_creation(request)
        except Refused as refusal:
            return refusal.response
        faults = self.faults
        if faults.account_refusal == "invalid_version":
            return creation.invalid_version()
        if faults.account_refusal:
            return creation.payment_required(faults.account_refusal)
        if not self._creations.allow(faults.creations_per_minute, faults.creations_burst):
            return self.throttled(max(1, math.ceil(self._creations.resets_at - time.time())))
        prediction = self._accept(wanted)
        request[SUBJECT] = prediction.id
        return json_response(self._show(prediction), 201)

    def _accept(self, wanted: Creation) -> Prediction:
        """Charge for a new prediction and begin with it."""
        outcome, garbage = decide(self.plan, wanted.input["prompt"])
        given_seed, now = wanted.input.get("seed"), time.time()
        prediction = Prediction(
            id=new_id(),
            model=wanted.model.name,
            version=wanted.model.version,
            input=wanted.input,
            created_at=now,
            deadline_at=now + (wanted.cancel_after_seconds or RUN_LIMIT_SECONDS),
            run_seconds=self.plan.seconds("generation", self._generation_seconds),
            seed=secrets.randbelow(2**32) if given_seed is None else given_seed,
            outcome=outcome,
            garbage=garbage,
            webhook=wanted.webhook,
        )
        self._store.save(prediction)
        self._charge(prediction)
        self.spawn(self._run(prediction))
        if outcome == "succeeded":
            self._pictures.paint(_file_of(prediction))
        return prediction

    def _charge(self, prediction: Prediction) -> None:
        price = next(m.price_usd for m in creation.MODELS if m.name == prediction.model)
        key = json.dumps(prediction.input, sort_keys=True, ensure_ascii=False)
        self.bill.add(BillEntry(prediction.created_at, prediction.id, key, price))

    async def _get(self, request: web.Request) -> web.Response:
        request[SUBJECT] = prediction_id = request.match_info["id"]
        prediction = self._store.get(prediction_id) or foreign_prediction(prediction_id)
        return json_response(self._show(prediction)) if prediction else creation.not_found()

    async def _cancel(self, request: web.Request) -> web.Response:
        request[SUBJECT] = request.match_info["id"]
        prediction = self._store.get(request.match_info["id"])
        if prediction is None:
            return creation.not_found()
        if not prediction.terminal:
            self._end(prediction, "canceled")
        return json_response(self._show(prediction))

    async def _list(self, request: web.Request) -> web.Response:
        """Page through predictions, newest first; the past may have no beginning."""
        faults, query = self.faults, request.query
        if faults.list_refusal:
            detail = {"detail": "Listing is refused.", "status": faults.list_refusal}
            return json_response(detail, faults.list_refusal)
        after, before = _moment(query.get("created_after")), _moment(query.get("created_before"))
        if faults.list_ignores_bounds:
            after = before = None
        offset, begun_at = _read_cursor(query.get("cursor"))
        ahead = faults.clock_ahead_seconds
        # What came since the first page would move all others.
        newest = begun_at if before is None else min(begun_at, before - ahead)
        found: Iterator[Prediction] = dropwhile(
            lambda prediction: prediction.created_at >= newest,
            self._store.newest_first(faults.foreign_per_minute),
        )
        if after is not None:
            oldest = after - ahead
            found = takewhile(lambda prediction: prediction.created_at >= oldest, found)
        page = list(islice(found, offset, offset + PAGE_SIZE + 1))
        omitted = faults.list_omits.split(",")

        def link(to: int) -> str:
            cursor = base64.urlsafe_b64encode(f"{to} {begun_at!r}".encode()).decode()
            return f"{self.url}/v1/predictions?{urlencode({**query, 'cursor': cursor})}"

        def item(prediction: Prediction) -> dict[str, Any]:
            shown = self._show(prediction)
            return {name: part for name, part in shown.items() if name not in omitted}

        return json_response(
            {
                "next": link(offset + PAGE_SIZE) if len(page) > PAGE_SIZE else None,
                "results": [item(prediction) for prediction in page[:PAGE_SIZE]],
            }
        )

    async def _secret(self, request: web.Request) -> web.Response:
        return json_response({"key": self._webhook_secret})

    async def _account(self, request: web.Request) -> web.Response:
        return json_response({"type": "organization", "username": "glisk-sandbox"})

    async def _file(self, request: web.Request) -> web.Response:
        prediction = self._store.by_file_token(request.match_info["token"])
        if prediction is None or not prediction.output or self._is_removed(prediction):
            return web.Response(status=404, text="Not Found")
        request[SUBJECT] = prediction.id
        content = await asyncio.wrap_future(self._pictures.paint(_file_of(prediction)))
        content_type = "text/html" if prediction.garbage == "html" else "image/webp"
        return web.Response(body=content, content_type=content_type)

    async def _show_predictions(self, request: web.Request) -> web.Response:
        return json_response({"predictions": [asdict(p) for p in self.predictions]})

    def _is_removed(self, prediction: Prediction) -> bool:
        """Say whether input, output and file are gone by now."""
        kept = 0.0 if self.faults.data_removed else RETENTION_SECONDS
        ended_at = prediction.completed_at
        return ended_at is not None and time.time() - ended_at >= kept

    def _show(self, prediction: Prediction) -> dict[str, Any]:
        """Describe a prediction as the API does."""
        removed, faults = self._is_removed(prediction), self.faults
        shown = prediction.as_json(self.url, removed=removed, ahead=faults.clock_ahead_seconds)
        if prediction.status == "succeeded" and not removed:
            shown["output"] = []
            if prediction.output:
                url = self._inline(prediction) if faults.output_inline else prediction.output
                shown["output"] = OUTPUT_SHAPES[faults.output_shape](url)
        return shown

    def _inline(self, prediction: Prediction) -> str:
        content = self._pictures.paint(_file_of(prediction)).result()
        return f"data:image/webp;base64,{base64.b64encode(content).decode()}"

    # --- what becomes of a prediction ---

    async def _run(self, prediction: Prediction) -> None:
        """See a prediction through, from wherever an earlier process left it."""
        if prediction.started_at is None:
            prediction.status, prediction.started_at = "processing", time.time()
            self._store.save(prediction)
        ends_at = prediction.started_at + prediction.run_seconds
        if prediction.outcome == "stuck" or ends_at > prediction.deadline_at:
            await asyncio.sleep(prediction.deadline_at - time.time())
            if not prediction.terminal:
                self._end(prediction, "canceled")
            return
        await asyncio.sleep(ends_at - time.time())
        if prediction.terminal:  # somebody canceled it
            return
        error, prediction.logs = end_of(prediction.outcome, prediction.seed, self.faults)
        prediction.error = error
        if prediction.outcome == "succeeded":
            prediction.output = f"{self.url}/delivery/xezq/{prediction.file_token}/out-0.webp"
        self._end(prediction, "failed" if error else "succeeded")

    def _end(self, prediction: Prediction, status: str) -> None:
        prediction.status, prediction.completed_at = status, time.time()
        self._store.save(prediction)
        if not prediction.webhook:
            return
        fault = "lost" if self.plan.chance("webhook-lost", self.faults.webhook_lost_rate) else ""
        self.spawn(self._notify(prediction, f"msg_{secrets.token_hex(12)}", fault))

    async def _notify(self, prediction: Prediction, webhook_id: str, fault: str) -> None:
        """Deliver a webhook; what gets no 2xx is tried again, under the same id."""
        body = json.dumps(self._show(prediction)).encode()
        for attempt in range(1, WEBHOOK_ATTEMPTS + 1):
            status = 0
            if not fault:
                headers = signed_headers(self._webhook_secret, webhook_id, body)
                status = await self.post(prediction.webhook, body, headers, WEBHOOK_TIMEOUT_SECONDS)
            self.deliveries.append(Delivery(webhook_id, prediction.id, attempt, status, fault))
            if 200 <= status < 300 or fault:
                return
            await asyncio.sleep(self._webhook_retry_seconds * 2 ** (attempt - 1))


def _file_of(prediction: Prediction) -> File:
    return File(prediction.input["prompt"], prediction.seed, garbage=prediction.garbage)


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read_cursor(text: str | None) -> tuple[int, float]:
    """Return how many to skip, and when the first page was asked for."""
    if not text:
        return 0, time.time()
    offset, begun_at = base64.urlsafe_b64decode(text).decode().split()
    return int(offset), float(begun_at)

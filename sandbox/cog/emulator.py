"""Emulate a Cog server (https://github.com/replicate/cog/blob/main/docs/http.md).

Replies are those of cog 0.23.1, seen on the wire: a prediction goes on when its client hangs up,
a second PUT of a running id is answered 202, one of an ended id runs again, and what does not fit
is refused with 409 as long as all slots are taken.
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass
from typing import Any, cast

from sandbox.http import BillEntry, Emulator, Faults, Request, Response, json_response
from sandbox.http.emulator import Handler
from sandbox.paint import Painter
from sandbox.replicate.outcomes import FLUX_NSFW_ERROR, GARBAGE_KINDS, OUTPUT_SHAPES, has_word
from sandbox.replicate.pictures import FileOrder, PictureRoom

SIDE = 1024
_CONTENT_TYPE = "image/png"
_BUSY = {"error": "At capacity - all prediction slots busy", "status": "failed"}
_NOT_READY = {
    "error": "Setup has not finished yet. Wait until it has finished, or GET /health-check for "
    "status.",
    "status": "failed",
}


@dataclass(frozen=True, kw_only=True)
class CogFaults(Faults):
    """Set how the model misbehaves.

    A prompt with one of the comma-separated words gets that outcome, one with "garbage-html"
    (-truncated, -black, -empty) such a file. `output` is "data" (a data URI), "url" (a file of
    this server), "foreign" (a file elsewhere) or "broken" (base64 that is none), held out in the
    `output_shape`, as at Replicate. `takes_seed` False is a model without that input.
    """

    nsfw_words: str = "nsfw,nude"
    crash_words: str = "crash-the-model"
    stuck_words: str = "never-ending"
    output: str = "data"
    output_shape: str = "list"
    ready: bool = True
    takes_seed: bool = True


@dataclass
class Run:
    """Hold one prediction that runs, or that has just ended."""

    id: str
    input: dict[str, Any]
    task: asyncio.Task[dict[str, Any]]
    canceled: asyncio.Event


class CogEmulator(Emulator):
    """Serve one model with so many slots."""

    name = "cog"
    faults_class = CogFaults

    def __init__(
        self,
        *,
        slots: int = 1,
        generation_seconds: float = 1.0,
        painter: Painter | None = None,
        **common: Any,
    ) -> None:
        """Prepare the server; for `common` see `Emulator`."""
        super().__init__(**common)
        self.slots = slots
        self.generation_seconds = generation_seconds
        self._pictures = PictureRoom(painter or Painter())
        self._running: dict[str, Run] = {}
        self._files: dict[str, bytes] = {}

    def routes(self) -> list[tuple[str, str, Handler]]:
        one = r"/predictions/([^/]+)"
        return [
            ("GET", r"/health-check", self._health),
            ("POST", r"/predictions", self._create),
            ("PUT", one, self._create),
            ("POST", one + "/cancel", self._cancel),
            ("GET", r"/files/([\w.-]+)", self._file),
        ]

    def not_found(self, request: Request) -> Response:
        return Response(404, b"", {})

    def on_reset(self) -> None:
        for run in list(self._running.values()):
            run.canceled.set()
        self._files.clear()

    async def on_stop(self) -> None:
        self._pictures.close()

    @property
    def running(self) -> list[str]:
        """Return the ids of the predictions under way."""
        return list(self._running)

    @property
    def _settings(self) -> CogFaults:
        return cast(CogFaults, self.faults)

    def _health(self, request: Request) -> Response:
        busy = len(self._running) >= self.slots
        state = "STARTING" if not self._settings.ready else "BUSY" if busy else "READY"
        return json_response({"status": state})

    async def _create(self, request: Request, prediction_id: str = "") -> Response:
        try:
            body = request.json()
        except ValueError:
            return Response(400, b"Failed to parse the request body as JSON", {})
        refused = self._refusal(body, prediction_id)
        if refused is not None:
            return refused
        prediction_id = prediction_id or str(body.get("id") or f"{time.time_ns():x}")
        request.subject = prediction_id
        run = self._running.get(prediction_id)
        if run is not None:
            state = {"id": run.id, "input": run.input, "logs": "", "metrics": {}}
            return json_response({**state, "status": "processing"}, 202)
        if len(self._running) >= self.slots:
            return json_response(_BUSY, 409)
        run = self._start(prediction_id, body["input"])
        if "respond-async" in request.headers.get("prefer", ""):
            return json_response({"id": prediction_id, "status": "starting"}, 202)
        return json_response(await asyncio.shield(run.task))

    def _refusal(self, body: Any, prediction_id: str) -> Response | None:
        if not self._settings.ready:
            return json_response(_NOT_READY, 503)
        given = body.get("input") if isinstance(body, dict) else None
        if not isinstance(given, dict) or not isinstance(given.get("prompt"), str):
            return _invalid(["body", "input", "prompt"], "field required")
        if "seed" in given and not self._settings.takes_seed:
            return _invalid(["body", "input", "seed"], "extra fields not permitted")
        if prediction_id and body.get("id", prediction_id) != prediction_id:
            text = "prediction ID must match the ID supplied in the URL"
            return _invalid(["body", "id"], text)
        return None

    def _start(self, prediction_id: str, given: dict[str, Any]) -> Run:
        canceled = asyncio.Event()
        task = asyncio.ensure_future(self._run(prediction_id, given, canceled))
        run = self._running[prediction_id] = Run(prediction_id, given, task, canceled)
        self.bill.add(
            BillEntry(at=time.time(), subject=prediction_id, key=prediction_id, detail=given)
        )
        return run

    async def _run(
        self, prediction_id: str, given: dict[str, Any], canceled: asyncio.Event
    ) -> dict[str, Any]:
        started = time.monotonic()
        answer: dict[str, Any] = {"id": prediction_id, "logs": ""}
        stuck = has_word(given["prompt"], self._settings.stuck_words)
        try:
            seconds = 3600.0 if stuck else self.generation_seconds
            await asyncio.wait_for(canceled.wait(), seconds)
            answer["status"] = "canceled"
        except TimeoutError:
            answer.update(await self._outcome(prediction_id, given))
        finally:
            del self._running[prediction_id]
        answer["metrics"] = {"predict_time": time.monotonic() - started}
        return answer

    async def _outcome(self, prediction_id: str, given: dict[str, Any]) -> dict[str, Any]:
        prompt = given["prompt"]
        for words, error in (
            (self._settings.nsfw_words, f"Prediction failed: ValueError: {FLUX_NSFW_ERROR}"),
            (self._settings.crash_words, "Prediction failed: RuntimeError: CUDA out of memory"),
        ):
            if has_word(prompt, words):
                return {"status": "failed", "error": error}
        garbage = next((kind for kind in GARBAGE_KINDS if has_word(prompt, f"garbage-{kind}")), "")
        order = FileOrder(prompt, int(given.get("seed", 0)), SIDE, SIDE, "png", 80, garbage)
        content = await self._pictures.fetch(order)
        shape = OUTPUT_SHAPES[self._settings.output_shape]
        return {"status": "succeeded", "output": shape([self._output(prediction_id, content)])}

    def _output(self, prediction_id: str, content: bytes) -> str:
        kind = self._settings.output
        if kind in ("url", "foreign"):
            self._files[f"{prediction_id}.png"] = content
            base = self.url if kind == "url" else "https://images.example.com"
            return f"{base}/files/{prediction_id}.png"
        text = base64.b64encode(content).decode() if kind == "data" else "no=base64"
        return f"data:{_CONTENT_TYPE};base64,{text}"

    def _cancel(self, request: Request, prediction_id: str) -> Response:
        run = self._running.get(prediction_id)
        if run is None:
            return json_response({}, 404)
        run.canceled.set()
        return json_response({})

    def _file(self, request: Request, name: str) -> Response:
        content = self._files.get(name)
        if content is None:
            return self.not_found(request)
        return Response(200, content, {"Content-Type": _CONTENT_TYPE})


def _invalid(place: list[str], text: str) -> Response:
    fault = {"loc": place, "msg": text, "type": "value_error"}
    return json_response({"detail": [fault]}, 422)

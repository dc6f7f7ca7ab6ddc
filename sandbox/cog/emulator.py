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
from typing import Any

from aiohttp import web

from sandbox.http import SUBJECT, BillEntry, Emulator, Faults, json_response
from sandbox.paint import Painter
from sandbox.paint.painter import File, Pictures
from sandbox.replicate.faults import NSFW_ERROR, OUTPUT_SHAPES, WORDS, garbage_in, has_word

_BUSY = {"error": "At capacity - all prediction slots busy", "status": "failed"}
_NOT_READY = {
    "error": "Setup has not finished yet. Wait until it has finished, or GET /health-check for "
    "status.",
    "status": "failed",
}
_ERRORS = {
    "nsfw": f"Prediction failed: ValueError: {NSFW_ERROR}",
    "crashed": "Prediction failed: RuntimeError: CUDA out of memory",
}


@dataclass(frozen=True, kw_only=True)
class CogFaults(Faults):
    """Set how the model misbehaves; words in a prompt do what they do at Replicate.

    `output` is "data" (a data URI), "url" (a file of this server), "foreign" (a file elsewhere) or
    "broken" (base64 that is none), held out in the `output_shape`, as at Replicate. `takes_seed`
    False is a model without that input.
    """

    output: str = "data"
    output_shape: str = "list"
    ready: bool = True
    takes_seed: bool = True


@dataclass
class Run:
    """Hold one prediction that runs."""

    input: dict[str, Any]
    canceled: asyncio.Event
    task: asyncio.Task[dict[str, Any]] | None = None


class CogEmulator(Emulator[CogFaults]):
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
        self._generation_seconds = generation_seconds
        self._pictures = Pictures(painter or Painter())
        self._running: dict[str, Run] = {}
        self._files: dict[str, bytes] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/health-check", self._health_check),
            web.put("/predictions/{id}", self._create),
            web.post("/predictions/{id}/cancel", self._cancel),
            web.get("/files/{name}", self._file),
        ]

    def not_found(self) -> web.Response:
        return web.Response(status=404)

    def on_reset(self) -> None:
        for run in self._running.values():
            run.canceled.set()
        self._files.clear()

    async def on_stop(self) -> None:
        self._pictures.close()

    @property
    def running(self) -> list[str]:
        return list(self._running)

    async def _health_check(self, request: web.Request) -> web.Response:
        busy = len(self._running) >= self.slots
        state = "STARTING" if not self.faults.ready else "BUSY" if busy else "READY"
        return json_response({"status": state})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        refused = self._refusal(body)
        if refused is not None:
            return refused
        request[SUBJECT] = prediction_id = request.match_info["id"]
        run = self._running.get(prediction_id)
        if run is not None:
            state = {"id": prediction_id, "input": run.input, "logs": "", "metrics": {}}
            return json_response({**state, "status": "processing"}, 202)
        if len(self._running) >= self.slots:
            return json_response(_BUSY, 409)
        run = self._running[prediction_id] = Run(body["input"], asyncio.Event())
        self.bill.add(BillEntry(time.time(), prediction_id, prediction_id))
        run.task = asyncio.create_task(self._run(prediction_id, run))
        return json_response(await asyncio.shield(run.task))

    def _refusal(self, body: Any) -> web.Response | None:
        if not self.faults.ready:
            return json_response(_NOT_READY, 503)
        given = body.get("input") if isinstance(body, dict) else None
        if not isinstance(given, dict) or not isinstance(given.get("prompt"), str):
            return _invalid("prompt", "field required")
        if "seed" in given and not self.faults.takes_seed:
            return _invalid("seed", "extra fields not permitted")
        return None

    async def _run(self, prediction_id: str, run: Run) -> dict[str, Any]:
        started = time.monotonic()
        answer: dict[str, Any] = {"id": prediction_id, "logs": ""}
        stuck = has_word(run.input["prompt"], *WORDS["stuck"])
        try:
            seconds = 3600.0 if stuck else self._generation_seconds
            await asyncio.wait_for(run.canceled.wait(), seconds)
            answer["status"] = "canceled"
        except TimeoutError:
            answer.update(await self._outcome(prediction_id, run.input))
        finally:
            del self._running[prediction_id]
        return {**answer, "metrics": {"predict_time": time.monotonic() - started}}

    async def _outcome(self, prediction_id: str, given: dict[str, Any]) -> dict[str, Any]:
        prompt = given["prompt"]
        for outcome, error in _ERRORS.items():
            if has_word(prompt, *WORDS[outcome]):
                return {"status": "failed", "error": error}
        file = File(prompt, int(given.get("seed", 0)), "png", garbage_in(prompt))
        content = await asyncio.wrap_future(self._pictures.paint(file))
        shape = OUTPUT_SHAPES[self.faults.output_shape]
        return {"status": "succeeded", "output": shape(self._output(prediction_id, content))}

    def _output(self, prediction_id: str, content: bytes) -> str:
        kind = self.faults.output
        if kind in ("url", "foreign"):
            self._files[f"{prediction_id}.png"] = content
            base = self.url if kind == "url" else "https://images.example.com"
            return f"{base}/files/{prediction_id}.png"
        text = base64.b64encode(content).decode() if kind == "data" else "no=base64"
        return f"data:image/png;base64,{text}"

    async def _cancel(self, request: web.Request) -> web.Response:
        run = self._running.get(request.match_info["id"])
        if run is not None:
            run.canceled.set()
        return json_response({}, 404 if run is None else 200)

    async def _file(self, request: web.Request) -> web.Response:
        content = self._files.get(request.match_info["name"])
        if content is None:
            return self.not_found()
        return web.Response(body=content, content_type="image/png")


def _invalid(name: str, text: str) -> web.Response:
    fault = {"loc": ["body", "input", name], "msg": text, "type": "value_error"}
    return json_response({"detail": [fault]}, 422)

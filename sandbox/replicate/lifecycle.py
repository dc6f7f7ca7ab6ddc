"""Move predictions through their states, by timers of the emulator's event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.replicate.predictions import Prediction

Changed = Callable[[Prediction, str], None]
Finish = Callable[[Prediction], None]


@dataclass
class Lifecycle:
    """Start, finish, cancel and time out predictions; every method runs in the event loop.

    `finish` fills in the end of a prediction that ran its time; `changed` hears of every step by
    its webhook event. `concurrency` bounds how many run at once; 0 is no bound.
    """

    finish: Finish
    changed: Changed
    concurrency: int = 0
    _running: set[str] = field(default_factory=set)
    _waiting: deque[Prediction] = field(default_factory=deque)
    _timers: dict[str, list[asyncio.TimerHandle]] = field(default_factory=dict)
    _done: dict[str, asyncio.Event] = field(default_factory=dict)

    def accept(self, prediction: Prediction) -> None:
        """Begin with a new prediction, or go on with one that an earlier process left."""
        self._after(prediction, prediction.deadline_at, self._expire)
        if prediction.started_at is None:
            begin_at = prediction.created_at + prediction.start_seconds
            self._after(prediction, begin_at, self._begin)
        else:
            self._running.add(prediction.id)
            self._run(prediction)

    def cancel(self, prediction: Prediction, status: str = "canceled") -> None:
        """End a prediction early; one that has ended stays as it is."""
        if not prediction.terminal:
            self._end(prediction, status)

    async def wait(self, prediction: Prediction, seconds: float) -> None:
        """Return when the prediction has ended or the time is over."""
        if prediction.terminal:
            return
        done = self._done.setdefault(prediction.id, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await done.wait()
        except TimeoutError:
            return

    def clear(self) -> None:
        """Drop all timers and queues."""
        for timers in self._timers.values():
            for timer in timers:
                timer.cancel()
        self._timers.clear()
        self._running.clear()
        self._waiting.clear()

    def _after(
        self, prediction: Prediction, moment: float, step: Callable[[Prediction], None]
    ) -> None:
        delay = max(0.0, moment - time.time())
        timer = asyncio.get_running_loop().call_later(delay, step, prediction)
        self._timers.setdefault(prediction.id, []).append(timer)

    def _begin(self, prediction: Prediction) -> None:
        if prediction.terminal:
            return
        if self.concurrency and len(self._running) >= self.concurrency:
            self._waiting.append(prediction)
            return
        self._running.add(prediction.id)
        prediction.status = "processing"
        prediction.started_at = time.time()
        self.changed(prediction, "start")
        self._run(prediction)

    def _run(self, prediction: Prediction) -> None:
        assert prediction.started_at is not None
        if prediction.outcome != "stuck":
            ends_at = prediction.started_at + prediction.run_seconds
            self._after(prediction, ends_at, self._complete)

    def _complete(self, prediction: Prediction) -> None:
        if prediction.terminal:
            return
        self.finish(prediction)
        self._end(prediction, prediction.status)

    def _expire(self, prediction: Prediction) -> None:
        if not prediction.terminal:
            self._end(prediction, "aborted" if prediction.started_at is None else "canceled")

    def _end(self, prediction: Prediction, status: str) -> None:
        prediction.status = status
        prediction.completed_at = time.time()
        for timer in self._timers.pop(prediction.id, []):
            timer.cancel()
        self.changed(prediction, "completed")
        done = self._done.pop(prediction.id, None)
        if done is not None:
            done.set()
        self._running.discard(prediction.id)
        while self._waiting and len(self._running) < self.concurrency:
            self._begin(self._waiting.popleft())

"""A worker's drains that a test drives turn by turn, beside real emulators of the vendors."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from glisk.engine.drain import Drain
from glisk.engine.step import CallResult
from glisk.models import SystemState
from sandbox.gateway.emulator import GatewayEmulator
from sandbox.pinata.emulator import PinataEmulator
from sandbox.pinata.store import ContentStore
from sandbox.replicate.emulator import ReplicateEmulator
from sandbox.replicate.predictions import Prediction
from tokens.models import ImageGenerationJob, Token
from tokens.states import TokenStatus

# Far longer than anything takes: it costs time only where a test fails.
PATIENCE_SECONDS = 60.0
CREATE = "^POST .*/predictions$"


def status(token: Token) -> str:
    return Token.objects.values_list("status", flat=True).get(pk=token.pk)


def has_status(wanted: TokenStatus, *tokens: Token) -> Callable[[], bool]:
    ids = [token.pk for token in tokens]
    return lambda: Token.objects.filter(pk__in=ids, status=wanted).count() == len(ids)


def is_ready(*tokens: Token) -> Callable[[], bool]:
    return has_status(TokenStatus.READY, *tokens)


def is_failed(*tokens: Token) -> Callable[[], bool]:
    return has_status(TokenStatus.FAILED, *tokens)


def job_of(token: Token) -> ImageGenerationJob:
    """Return the only job of a token."""
    return ImageGenerationJob.objects.get(token=token)


def breaker(vendor: str) -> dict[str, Any]:
    """Return what is stored of a vendor's breaker."""
    found = SystemState.objects.filter(pk=f"breaker:{vendor}").first()
    return dict(found.state_value) if found else {}


def is_open(vendor: str = "replicate") -> bool:
    return breaker(vendor).get("state") == "open"


class Vendors:
    """The three emulators, over one store of content."""

    def __init__(self, replicate: ReplicateEmulator, pinata: PinataEmulator) -> None:
        self.replicate = replicate
        self.pinata = pinata
        self.store: ContentStore = pinata.store
        self.gateway = GatewayEmulator(store=self.store).start()

    def reset(self) -> None:
        for emulator in (self.replicate, self.pinata, self.gateway):
            emulator.reset(state=True)

    def stop(self) -> None:
        for emulator in (self.replicate, self.pinata, self.gateway):
            emulator.stop()
        self.store.close()

    @property
    def predictions(self) -> list[Prediction]:
        return self.replicate.predictions

    @property
    def paid(self) -> int:
        """How many predictions stand on the bill."""
        return len(self.replicate.bill)

    def answers(self) -> list[int]:
        """How each call to create a prediction was answered, accepted or not."""
        calls = self.replicate.calls
        return [c.status for c in calls if c.method == "POST" and c.path.endswith("/predictions")]

    def creations(self) -> int:
        return len(self.answers())

    def listings(self) -> int:
        """How many pages of the listing were asked for."""
        calls = [(call.method, call.path) for call in self.replicate.calls]
        return calls.count(("GET", "/v1/predictions"))


class Worker:
    """A worker's drains, driven by the test in its own thread; only their calls run in others."""

    def __init__(self, *drains: Drain) -> None:
        self.drains = drains
        self.drain: Any = drains[0]  # tests look into it, and each kind has other parts
        self.ticks: list[float | None] = []
        self.turns = 0
        self._undelivered: dict[int, list[CallResult]] = {}
        for drain in drains:
            drain.prepare()

    @property
    def tick(self) -> float | None:
        """After how many seconds the generation wants its next turn; None for the idle tick."""
        return self.ticks[0]

    @property
    def in_flight(self) -> int:
        return sum(drain.in_flight for drain in self.drains)

    def _wait(self, seconds: float) -> bool:
        poll = select.poll()
        for drain in self.drains:
            poll.register(drain.calls, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def step(self, wait: float = 0.02) -> list[CallResult]:
        """Wait a moment for a finished call, then turn each drain once."""
        self._wait(wait)
        found = [(drain, drain.calls.finished()) for drain in self.drains]
        self.ticks = [self._turn(drain, results) for drain, results in found]
        self.turns += 1
        return [result for _, results in found for result in results]

    def _turn(self, drain: Drain, results: list[CallResult]) -> float | None:
        """Turn once; a turn that loses the database gets its results again, as in the loop."""
        undelivered = self._undelivered.pop(id(drain), []) + results
        try:
            return drain.turn(undelivered)
        except OperationalError:
            self._undelivered[id(drain)] = undelivered
            return None

    def until(self, condition: Callable[[], Any], *, what: str = "") -> Any:
        """Turn until the condition is true; fail when it does not become so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.step()
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                states = list(Token.objects.values_list("token_id", "status", "generation_error"))
                pytest.fail(f"not within {PATIENCE_SECONDS} s: {what or condition}; {states}")

    def settle(self, seconds: float) -> None:
        """Go on turning for so long: for what must not happen, never for what must."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.step()

    def finished(self) -> list[CallResult]:
        """Wait for the next finished call, and take it away before its drain sees it."""
        assert self._wait(PATIENCE_SECONDS), "no call ended"
        return [result for drain in self.drains for result in drain.calls.finished()]

    def rest(self) -> None:
        """Let the calls under way end; the next turn gets what they bring."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(drain.calls.waiting < drain.in_flight for drain in self.drains):
            assert time.monotonic() < deadline, "a call does not end"
            time.sleep(0.01)

    def crash(self) -> None:
        """Forget everything in memory, as a kill would; nothing is given back."""
        for drain in self.drains:
            drain.close()

    def end(self) -> None:
        """Crash, and see the last call end: it must not reach the emulators of another test."""
        self.crash()
        for drain in self.drains:
            drain.calls._pool.shutdown()

    def stop(self) -> None:
        """End in order, as the loop does."""
        for drain in self.drains:
            drain.stopping = True
            drain.release()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.in_flight and time.monotonic() < deadline:
            self.step()
        for drain in self.drains:
            drain.release()
        self.crash()


def until_ended(vendors: Vendors) -> None:
    """Wait until the vendor has ended all its predictions, of which there is one at least."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not vendors.predictions or not all(p.terminal for p in vendors.predictions):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(vendors: Vendors, worker: Worker) -> Any:
    """Return the first prediction as a webhook shows it when it has ended."""
    until_ended(vendors)
    return worker.drain.services.replicate.client.get_prediction(vendors.predictions[0].id)


Start = Callable[[], Worker]

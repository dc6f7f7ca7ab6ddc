"""A pipeline drain that a test drives turn by turn, beside real emulators of the vendors."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

import pytest

from glisk.engine.drain import CallResult, Drain
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

    def creations(self) -> int:
        """How many calls to create a prediction came in, accepted or not."""
        return sum(
            call.method == "POST" and call.path.endswith("/predictions")
            for call in self.replicate.calls
        )


class Worker:
    """One drain, driven by the test in its own thread; only its calls run in others."""

    def __init__(self, drain: Drain) -> None:
        self.drain: Any = drain  # tests look into it, and each kind has other parts
        self.tick: float | None = None
        self.turns = 0
        drain.prepare()

    def step(self, wait: float = 0.02) -> list[CallResult]:
        """Wait a moment for a finished call, then turn once."""
        poll = select.poll()
        poll.register(self.drain.calls, select.POLLIN)
        poll.poll(wait * 1000)
        results: list[CallResult] = self.drain.calls.finished()
        self.drain.in_flight -= len(results)
        self.tick = self.drain.turn(results)
        self.turns += 1
        return results

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
        """Wait for the next finished call, and take it away before the drain sees it."""
        poll = select.poll()
        poll.register(self.drain.calls, select.POLLIN)
        assert poll.poll(PATIENCE_SECONDS * 1000), "no call ended"
        results: list[CallResult] = self.drain.calls.finished()
        self.drain.in_flight -= len(results)
        return results

    def rest(self) -> None:
        """Let the calls under way end; the next turn gets what they bring."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.drain.calls.waiting < self.drain.in_flight:
            assert time.monotonic() < deadline, "a call does not end"
            time.sleep(0.01)

    def crash(self) -> None:
        """Forget everything in memory, as a kill would; nothing is given back."""
        self.drain.close_calls()
        self.drain.close()

    def end(self) -> None:
        """Crash, and see the last call end: it must not reach the emulators of another test."""
        self.crash()
        self.drain.calls._pool.shutdown()

    def stop(self) -> None:
        """End in order, as the loop does."""
        self.drain.stopping = True
        self.drain.release()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.drain.in_flight and time.monotonic() < deadline:
            self.step()
        self.drain.release()
        self.crash()


Start = Callable[[], Worker]

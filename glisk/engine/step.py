"""A step of the work: claim rows, make a call for each piece of work, settle what came of it.

    claim (one transaction) → call (a thread, no database) → settle (one transaction)

Between two steps nothing lives in memory but the calls under way: what waits, waits in its row.
So a crash, a hand-over and the next turn are the same thing.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from glisk.breaker import Breaker
from glisk.engine.broker import notify
from glisk.engine.calls import CallResult
from glisk.engine.drain import Drain

W = TypeVar("W")  # a claimed piece of work
D = TypeVar("D")  # what its call brought

# Under load (from so many calls under way on), rare work is looked for this often only.
_MANY = 5
_LOOK_SECONDS = 0.25
_LEAST_WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class Done(Generic[W, D]):
    """A call that returned."""

    work: W
    value: D


@dataclass(frozen=True)
class Failed(Generic[W]):
    """A call that raised."""

    work: W
    error: Exception


class Step(ABC, Generic[W, D]):
    """One row of the table of steps. All methods but `call` run in the drain's main thread."""

    # Rare work is not looked for in every turn under load.
    rare: ClassVar[bool] = False
    # The call asks nobody outside and takes milliseconds: it is made in the turn, by no thread.
    at_once: ClassVar[bool] = False

    def __init__(self, owner: str) -> None:
        """`owner` is the drain's, unique for each run: it marks what this process claims."""
        self.owner = owner
        self.under_way: list[W] = []
        self._paused_until = 0.0
        # Set by a claim that leaves rows to a later one: `due_in` was asked before it.
        self.has_put_off = False

    def pause(self, seconds: float) -> None:
        """Begin nothing for so long: for what concerns all rows of the step."""
        self._paused_until = time.monotonic() + seconds

    @property
    def paused_for(self) -> float:
        """Seconds until the step may begin again; 0 if it may now."""
        return max(0.0, self._paused_until - time.monotonic())

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    @abstractmethod
    def most(self) -> int:
        """How many calls of this process may be under way: so many threads are kept for them."""

    def places(self) -> int:
        """Return how many calls may begin now: pause, breaker, rate and room."""
        return self.most - len(self.under_way)

    @abstractmethod
    def claim(self, limit: int) -> Sequence[W]:
        """Take at most `limit` pieces of work; committed when this returns.

        One piece may hold many rows, if one call serves them all.
        """

    def known(self, work: W) -> D | None:
        """Return what is known without a call, which is settled at once; None: make the call."""
        return None

    @abstractmethod
    def call(self, work: W) -> D:
        """Make the call; runs in a thread (unless `at_once`) and touches no database."""

    @abstractmethod
    def settle(self, done: Sequence[Done[W, D]], failed: Sequence[Failed[W]]) -> None:
        """Write what came of the calls of one turn, in one transaction.

        Bears repetition: if the answer to its commit is lost, it is called with the same again.
        """

    def leased(self, work: W) -> Collection[int]:
        """Name the rows whose lease is to be renewed while the call is under way."""
        return ()

    @property
    def breakers(self) -> Collection[Breaker]:
        """Name the breakers whose probe a call of the step may be."""
        return ()

    def asks(self, work: W) -> Collection[Breaker]:
        """Name those that hear how this call went, if it is their probe."""
        return self.breakers

    def due_in(self) -> float | None:
        """Seconds until something falls due by the clock; None: a notification will tell."""
        return None

    def close(self) -> None:
        """Close what the step has opened."""


class StepDrain(Drain):
    """A drain that is nothing but its steps.

    They begin in their order and are settled in the reverse one: what is paid for comes first.
    """

    lease_seconds: float = 60.0
    steps: Sequence[Step[Any, Any]] = ()

    def __init__(self) -> None:
        super().__init__()
        self._known: list[CallResult] = []
        self._renewed_at = self._looked_at = time.monotonic()
        self._looked_at -= _LOOK_SECONDS
        self._unsure = False
        self._due_in: float | None = None
        self._probes: list[tuple[Breaker, Any]] = []  # each with the work that is its call

    @abstractmethod
    def make_steps(self) -> Sequence[Step[Any, Any]]:
        """Build the steps and their clients."""

    def survey(self) -> None:
        """Read what the steps go by: before any of them claims, and again if one was settled."""

    def renew(self, ids: Collection[int]) -> None:
        """Prolong this owner's leases of these rows by `lease_seconds`."""

    def free_all_but(self, ids: Collection[int]) -> None:
        """Free all rows of this owner but these, whose calls are under way."""

    def prepare(self) -> None:
        self.steps = self.make_steps()

    @property
    def threads(self) -> int:
        """The sum of the places: slow calls of one step must not delay those of another."""
        return sum(step.most for step in self.steps if not step.at_once)

    def turn(self, results: list[CallResult]) -> float | None:
        for step in reversed(self.steps):
            self._settle(step, [*results, *self._known])
        self._known.clear()
        if self.stopping:
            if results:
                for channel in self.channels:  # what was settled here is for others to go on with
                    notify(channel)
        else:
            if self._unsure:  # a claim may have been committed without our hearing of it
                self.free_all_but(self._leased())
            self._unsure = True
            self._begin(answered=len(results))
            self._unsure = False
        self._give_probes_back()
        return self._next_turn_seconds()

    def _settle(self, step: Step[Any, Any], results: Sequence[CallResult]) -> None:
        """Settle a step's results; one that comes a second time is not under way any more."""
        fresh = [r for r in results if r.kind == step.name and _holds(step.under_way, r.key)]
        if not fresh:
            return
        step.settle(
            [Done(r.key, r.value) for r in fresh if r.error is None],
            [Failed(r.key, r.error) for r in fresh if r.error is not None],
        )
        step.under_way = [w for w in step.under_way if not _holds([r.key for r in fresh], w)]
        self.note_progress()

    def _begin(self, *, answered: int) -> None:
        self.survey()
        looks = self._looks_around(answered)
        for step in self.steps:
            if step.paused_for or (step.rare and not looks):
                continue
            places = min(step.places(), step.most - len(step.under_way))
            works = step.claim(places) if places > 0 else ()
            if works:
                self.note_claim()
            step.under_way += works
            self._probes += [(b, w) for w in works for b in step.asks(w) if b.probing]
            for work in works:
                result = _without_thread(step, work)
                if result is None:
                    self.submit(step.name, work, step.call, work)
                else:
                    self._known.append(result)
            if self._known:
                self._settle(step, self._known)
                self._known.clear()
                self.survey()  # the steps that follow go on with it in this turn
                self._due_in = _LEAST_WAIT_SECONDS  # and those before it in the next one
            if step.has_put_off:
                step.has_put_off = False
                self._due_in = _LEAST_WAIT_SECONDS  # the next survey tells until when

    def _give_probes_back(self) -> None:
        """Give each probe back that no call is made for, or whose settlement told nothing of it.

        The one place for this: a step may take a probe, and then find nothing or fail.
        """
        under_way = [work for step in self.steps for work in step.under_way]
        self._probes = [(b, w) for b, w in self._probes if b.probing and _holds(under_way, w)]
        used = [breaker for breaker, _ in self._probes]
        for breaker in {breaker for step in self.steps for breaker in step.breakers}:
            if breaker.probing and breaker not in used:
                breaker.give_probe_back()

    def _looks_around(self, answered: int) -> bool:
        """Tell whether to look for rare work, and ask what falls due.

        Before the claims: what falls due while they run must not be overlooked.
        """
        now = time.monotonic()
        left = self._looked_at + _LOOK_SECONDS - now
        if self.load + answered >= _MANY and left > 0:
            self._due_in = left
            return False
        self._looked_at = now
        waits = [step.paused_for or step.due_in() for step in self.steps]
        known = [wait for wait in waits if wait is not None]
        self._due_in = max(_LEAST_WAIT_SECONDS, min(known)) if known else None
        return True

    @property
    def load(self) -> int:
        """How much is under way."""
        return self.in_flight

    def _leased(self) -> list[int]:
        return [pk for step in self.steps for work in step.under_way for pk in step.leased(work)]

    def _next_turn_seconds(self) -> float | None:
        """Renew the leases of what is under way; return when to look again at the latest."""
        every = self.lease_seconds / 3
        ids = self._leased()
        if ids and time.monotonic() - self._renewed_at >= every:
            self.renew(ids)
            self._renewed_at = time.monotonic()
        waits = [None if self.stopping else self._due_in, every if ids else None]
        return min((wait for wait in waits if wait is not None), default=None)

    def release(self) -> None:
        """Free what no call is under way for: a lost claim, and at the end what was not saved."""
        if self._unsure or not self.in_flight:
            self.free_all_but(self._leased() if self.in_flight else ())

    def close(self) -> None:
        for step in self.steps:
            step.close()
        super().close()


def _without_thread(step: Step[Any, Any], work: Any) -> CallResult | None:
    """Return what came of work that needs no thread; None: it does."""
    value = step.known(work)
    if value is not None:
        return CallResult(step.name, work, value=value)
    if not step.at_once:
        return None
    try:
        return CallResult(step.name, work, value=step.call(work))
    except Exception as error:  # noqa: BLE001 - the step judges it
        return CallResult(step.name, work, error=error)


def _holds(works: Sequence[Any], work: Any) -> bool:
    """Tell whether this very piece of work is among them: equal ones may be of another claim."""
    return any(each is work for each in works)

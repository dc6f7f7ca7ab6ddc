"""Who does one trick after the other to a world, in an order that the seed decides.

A trick begins, lasts for some seconds, and is undone. Tricks on the same part of the world (a
vendor, the node, the machines) never overlap, so that undoing one undoes no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from web3.exceptions import Web3Exception

from sandbox.chaos.tricks import TRICKS, Trick, Undo, Zoo


class Monkey:
    """Does each trick once, in an order of its own, and then any, one every `pause_seconds`."""

    def __init__(self, zoo: Zoo, *, pause_seconds: float) -> None:
        self._zoo, self._pause = zoo, pause_seconds
        self._bag: list[Trick] = []
        self._undo: dict[str, tuple[float, Undo, Trick]] = {}  # by part
        self._next_at = time.monotonic() + pause_seconds

    def step(self) -> None:
        """Undo what has lasted long enough; begin the next trick if it is time."""
        now = time.monotonic()
        for part, (ends, undo, trick) in list(self._undo.items()):
            if now >= ends and self._try(undo or (lambda: None), trick):
                del self._undo[part]
        if now < self._next_at:
            return
        if not self._bag:
            self._bag = list(TRICKS)
            self._zoo.rng.shuffle(self._bag)
        free = [trick for trick in self._bag if trick.part not in self._undo]
        if not free:
            return
        trick = free[0]
        self._next_at = now + self._pause
        self._bag.remove(trick)
        try:
            undo = trick.begin(self._zoo)
        except (OSError, Web3Exception, RuntimeError) as error:  # what it is done to is down
            self._zoo.done.append(f"(not done: {trick.name}: {error})")
            return
        self._zoo.done.append(trick.name)
        self._undo[trick.part] = (now + trick.seconds, undo, trick)

    def _try(self, undo: Callable[[], object], trick: Trick) -> bool:
        try:
            undo()
        except (OSError, Web3Exception, RuntimeError):
            return False  # once more at the next step
        return True

    def rest(self, seconds: float = 60.0) -> None:
        """Undo everything. Raises `TimeoutError` if a part does not come back."""
        deadline = time.monotonic() + seconds
        self._next_at = float("inf")
        self._undo = {part: (0.0, undo, trick) for part, (_, undo, trick) in self._undo.items()}
        while self._undo:
            self.step()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not undone: {[t.name for _, _, t in self._undo.values()]}")
            time.sleep(0.2)

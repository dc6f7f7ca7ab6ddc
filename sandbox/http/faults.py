"""Decide, by seed, which calls go wrong and how; and count them per minute, as vendors do."""

from __future__ import annotations

import dataclasses
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

Kind = Literal["throttle", "server_error", "drop_before", "drop_after", "error_after"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WINDOW_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Set how a vendor misbehaves; the defaults are a vendor without fault.

    Rates are probabilities from 0 to 1 for each call whose "METHOD /path" matches the regular
    expression `scope`. `throttle`, `server_error` and `drop_before` strike before the vendor's
    logic runs; after `drop_after` and `error_after` the vendor has done the work, but the
    client does not learn of it. `clock_ahead_seconds` sets the vendor's clock wrong, which its
    Date header and the times in its answers tell; below 0 it is behind.
    """

    seed: int = 0
    clock_ahead_seconds: float = 0.0
    scope: str = ""
    latency_seconds: tuple[float, float] = (0.0, 0.0)
    throttle_rate: float = 0.0
    retry_after_seconds: int = 1
    server_error_rate: float = 0.0
    server_error_status: int = 500
    drop_before_rate: float = 0.0
    drop_after_rate: float = 0.0
    error_after_rate: float = 0.0
    error_after_status: int = 502

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if isinstance(field.default, tuple):  # a list, if it came as JSON
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))


@dataclass
class PlannedFault:
    """Strike the next `times` calls whose "METHOD /path" matches `scope`."""

    kind: Kind
    times: int = 1
    scope: str = ""


F = TypeVar("F", bound=Faults)


class FaultPlan(Generic[F]):
    """Hold the settings, the planned faults and one random stream for each kind of fault.

    A stream of its own for each kind keeps a run reproducible when only another rate changes.
    """

    def __init__(self, faults: F) -> None:
        self.faults = faults
        self.planned: list[PlannedFault] = []
        self._streams: dict[str, random.Random] = {}

    def change(self, **settings: Any) -> None:
        """Change some settings (None: back to the usual) and start the random streams anew."""
        usual = type(self.faults)()
        changed = {n: getattr(usual, n) if to is None else to for n, to in settings.items()}
        self.faults = dataclasses.replace(self.faults, **changed)
        self._streams = {}

    def reset(self) -> None:
        """Forget all settings but the seed."""
        self.planned.clear()
        self.faults = type(self.faults)(seed=self.faults.seed)
        self._streams = {}

    def stream(self, name: str) -> random.Random:
        if name not in self._streams:
            self._streams[name] = random.Random(f"{self.faults.seed}:{name}")
        return self._streams[name]

    def chance(self, name: str, rate: float) -> bool:
        return rate > 0 and self.stream(name).random() < rate

    def seconds(self, name: str, limits: tuple[float, float]) -> float:
        low, high = limits
        return low if high <= low else self.stream(name).uniform(low, high)

    def strike(self, call: str) -> Kind | None:
        """Decide what happens to one call, named "METHOD /path"."""
        for planned in self.planned:
            if re.search(planned.scope, call):
                planned.times -= 1
                if planned.times <= 0:
                    self.planned.remove(planned)
                return planned.kind
        if not self.in_scope(call):
            return None
        for kind in KINDS:
            if self.chance(kind, getattr(self.faults, f"{kind}_rate")):
                return kind
        return None

    def in_scope(self, call: str) -> bool:
        return not self.faults.scope or re.search(self.faults.scope, call) is not None


class RateLimit:
    """Allow so many calls in each minute.

    Without `burst` in windows of a minute, each of which opens with its first call; with it a
    bucket of so many calls, which fills evenly.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._opened_at = 0.0
        self._used = 0
        self._left: float | None = None  # of the bucket
        self._filled_at = 0.0
        self.resets_at = 0.0  # when a call is allowed again after a refusal, in Unix seconds

    def allow(self, per_minute: int, burst: int = 0) -> bool:
        """Count a call; return whether it is within the limit. `per_minute` 0 is no limit."""
        if per_minute <= 0:
            return True
        return self._from_bucket(per_minute, burst) if burst else self._in_window(per_minute)

    def _in_window(self, per_minute: int) -> bool:
        now = self._clock()
        if now - self._opened_at >= WINDOW_SECONDS:
            self._opened_at, self._used = now, 0
        self._used += 1
        self.resets_at = self._opened_at + WINDOW_SECONDS
        return self._used <= per_minute

    def _from_bucket(self, per_minute: int, burst: int) -> bool:
        now, a_second = self._clock(), per_minute / WINDOW_SECONDS
        left = burst if self._left is None else self._left + (now - self._filled_at) * a_second
        left = min(float(burst), left)
        allowed = left >= 1.0
        self._left, self._filled_at = left - allowed, now
        self.resets_at = now + max(0.0, 1.0 - self._left) / a_second
        return allowed

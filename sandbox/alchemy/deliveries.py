"""Deliver notifications: concurrently, with retries, and wrong where a fault says so."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sandbox.alchemy.envelope import sign
from sandbox.http import FaultPlan
from sandbox.http.poster import Poster

SENDERS = 8
TIMEOUT_SECONDS = 5.0
# Exponential, ten minutes in all, as on Alchemy's free and pay-as-you-go plans.
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
KEPT_IN_MEMORY = 50_000
FOREIGN_KEY = "whsec_somebody_else"

Later = Callable[[float, Callable[[], None]], None]


@dataclass(frozen=True)
class Notification:
    """Hold one webhook event, which every attempt and duplicate sends unchanged."""

    event_id: str
    body: bytes
    block_number: int
    block_hash: str
    log_count: int


@dataclass(frozen=True)
class Delivery:
    """Describe one attempt; times are Unix seconds, `ms` is how long the reply took.

    `status` is 0 when no reply came in time. `fault` is "", "lost", "duplicate", "reorder",
    "delay", "truncated", "forged" or "paused".
    """

    number: int
    event_id: str
    block_number: int
    block_hash: str
    log_count: int
    attempt: int
    sent_at: float
    ms: float
    status: int
    fault: str


@dataclass
class WebhookSender:
    """Send notifications to one address; those of different blocks do not wait for each other.

    Any answer but 200 is retried, by `retry_seconds`. With `pause_after`, so many attempts in a
    row without a 2xx pause the webhook: what comes then is not kept (`unpause` streams on).
    """

    target: str
    signing_key: str
    plan: FaultPlan
    later: Later
    timeout_seconds: float = TIMEOUT_SECONDS
    retry_seconds: tuple[float, ...] = RETRY_SECONDS
    pause_after: int = 0
    paused: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(SENDERS, "alchemy-webhook")
        self._poster = Poster(self.timeout_seconds)
        self._lock = threading.Lock()
        self._log: deque[Delivery] = deque(maxlen=KEPT_IN_MEMORY)
        self._count = 0
        self._failures_in_a_row = 0
        self._held: list[Callable[[], None]] = []
        self._pending: dict[str, int] = {}

    @property
    def deliveries(self) -> list[Delivery]:
        """Return the attempts made so far, in the order of their ends."""
        with self._lock:
            return list(self._log)

    def oldest_pending_block(self) -> int | None:
        """Return the lowest block whose notification is neither delivered nor given up."""
        with self._lock:
            return min(self._pending.values(), default=None)

    def send(self, notification: Notification) -> None:
        """Deliver soon, or as the faults drawn for this notification have it."""
        if self.paused:
            self._record(notification, 1, time.time(), 0, "paused")
            return
        fault = self._draw()
        if fault == "lost":
            self._record(notification, 1, time.time(), 0, "lost")
            return
        with self._lock:
            self._pending[notification.event_id] = notification.block_number
        copies = 2 if fault == "duplicate" else 1
        for _ in range(copies):
            self._launch(notification, fault)
        if fault != "reorder":
            self._release_held()

    def clear(self) -> None:
        """Forget the attempts made so far."""
        with self._lock:
            self._log.clear()

    def close(self) -> None:
        """Give up what is queued."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _draw(self) -> str:
        rates = self.plan.faults
        for fault in ("lost", "duplicate", "reorder", "delay", "truncated", "forged"):
            if self.plan.chance(f"webhook-{fault}", getattr(rates, f"webhook_{fault}_rate")):
                return fault
        return ""

    def _launch(self, notification: Notification, fault: str) -> None:
        def start() -> None:
            self._submit(notification, 1, fault)

        if fault in ("reorder", "delay"):
            limits = getattr(self.plan.faults, f"webhook_{fault}_seconds")
            start = _once(start)
            if fault == "reorder":
                self._held.append(start)
            self.later(self.plan.seconds(f"webhook-{fault}-time", limits), start)
        else:
            start()

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for start in held:
            # Not at once: the one that overtakes needs a moment on the wire.
            self.later(0.2, start)

    def _submit(self, notification: Notification, attempt: int, fault: str) -> None:
        try:
            self._pool.submit(self._attempt, notification, attempt, fault)
        except RuntimeError:
            return  # The emulator is being stopped.

    def _attempt(self, notification: Notification, attempt: int, fault: str) -> None:
        sent_at = time.time()
        status = self._post(notification.body, fault if attempt == 1 else "")
        self._record(notification, attempt, sent_at, status, fault if attempt == 1 else "")
        self._judge(status)
        if status == 200 or attempt > len(self.retry_seconds) or self.paused:
            with self._lock:
                self._pending.pop(notification.event_id, None)
            return
        self.later(
            self.retry_seconds[attempt - 1],
            lambda: self._submit(notification, attempt + 1, fault),
        )

    def _judge(self, status: int) -> None:
        with self._lock:
            self._failures_in_a_row = 0 if 200 <= status < 300 else self._failures_in_a_row + 1
            if self.pause_after and self._failures_in_a_row >= self.pause_after:
                self.paused = True

    def unpause(self) -> None:
        """Send again from now on; what came in between is not replayed."""
        with self._lock:
            self.paused = False
            self._failures_in_a_row = 0

    def _post(self, body: bytes, fault: str) -> int:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "X-Alchemy-Signature": sign(
                FOREIGN_KEY if fault == "forged" else self.signing_key, body
            ),
        }
        if fault == "truncated":
            body = body[: len(body) // 2]
        return self._poster.post(self.target, body, headers)

    def _record(
        self, notification: Notification, attempt: int, sent_at: float, status: int, fault: str
    ) -> None:
        with self._lock:
            self._count += 1
            self._log.append(
                Delivery(
                    number=self._count,
                    event_id=notification.event_id,
                    block_number=notification.block_number,
                    block_hash=notification.block_hash,
                    log_count=notification.log_count,
                    attempt=attempt,
                    sent_at=sent_at,
                    ms=round((time.time() - sent_at) * 1000, 2),
                    status=status,
                    fault=fault,
                )
            )


def _once(call: Callable[[], None]) -> Callable[[], None]:
    """Return a call that does its work the first time only."""
    lock = threading.Lock()

    def guarded() -> None:
        if lock.acquire(blocking=False):
            call()

    return guarded

"""Reveal drains in processes of their own, which can be told where to die.

    python -m reveals.tests.drain_process

A line of JSON on the standard input starts one, and its process id is the answer:

    {"settings": {…}, "kill_at": "stored", "nth": 2}

A process is forked from this one, which has everything imported: it starts in milliseconds. At
its `nth` arrival at the point `kill_at` it kills itself with SIGKILL: nothing is caught, nothing
is flushed, no connection is closed in order.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import django

django.setup()

import eth_account  # noqa: E402, F401 - clients import both when they are made: 1.5 s of CPU a fork
import web3  # noqa: E402, F401
from django.conf import settings  # noqa: E402 - Django first

from glisk.clients.chain import ChainClient  # noqa: E402
from glisk.engine.drain import run_drain  # noqa: E402
from glisk.engine.process import Flag  # noqa: E402
from glisk.tests.pace import hurry  # noqa: E402
from reveals import outbox  # noqa: E402
from reveals.keeper import Keeper  # noqa: E402
from reveals.pipeline import receipts  # noqa: E402
from reveals.tasks import RevealDrain  # noqa: E402


class Death:
    """Comes at the n-th arrival."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def arrive(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, death: Death) -> None:
    original = getattr(owner, name)

    def doomed(*arguments: Any, **named: Any) -> Any:
        death.arrive()
        return original(*arguments, **named)

    setattr(owner, name, doomed)


def after(
    owner: Any, name: str, death: Death, *, when: Callable[[Any], bool] = lambda _: True
) -> None:
    original = getattr(owner, name)

    def doomed(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if when(result):
            death.arrive()
        return result

    setattr(owner, name, doomed)


# The boundaries of the steps, each of which is a commit of its own.
POINTS: dict[str, Callable[[Death], None]] = {
    "before reserve": lambda death: before(outbox, "reserve_batch", death),
    "reserved": lambda death: after(outbox, "_next_nonce", death),
    "composed": lambda death: after(outbox, "reserve_batch", death),
    "signed": lambda death: after(Keeper, "sign", death),
    "stored": lambda death: after(outbox, "store_signed", death),
    "broadcast": lambda death: after(ChainClient, "send_raw_transaction", death),
    "broadcast noted": lambda death: after(outbox, "mark_broadcast", death),
    "mined": lambda death: after(
        receipts, "look_for_receipts", death, when=lambda found: any(found.receipts.values())
    ),
    "confirmed": lambda death: before(receipts, "confirm", death),
    "before the final commit": lambda death: after(receipts, "move_tokens", death),
    "after the final commit": lambda death: after(receipts, "confirm", death),
}


def work(order: dict[str, Any]) -> None:
    """Run drains until SIGTERM; the slot of a killed one may take a moment to be free."""
    for name, value in order["settings"].items():
        setattr(settings, name, value)
    hurry(setattr)
    if order.get("kill_at"):
        POINTS[order["kill_at"]](Death(int(order.get("nth", 1))))
    stop = Flag()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        while not stop.is_set():
            run_drain(RevealDrain, stop)
            stop.wait(0.02)
    except Exception:  # noqa: BLE001 - whatever it was
        # Nobody shall take this end for the one that was ordered.
        traceback.print_exc()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pause()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            work(json.loads(line))
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Reveal drains in processes of their own, which can be told where to die.

    python -m reveals.tests.drain_process

A line of JSON on the standard input starts one, and its process id is the answer:

    {"settings": {…}, "kill_at": "stored", "nth": 2}

or, with `"command": ["reveal_tokens", …]` and `"output": FILE`, runs that command and leaves in the
file what it says, and at the end its exit status.

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
from pathlib import Path
from typing import Any

import django

django.setup()

import boto3  # noqa: E402, F401 - clients import all three when they are made: 2 s of CPU a fork
import eth_account  # noqa: E402, F401
import web3  # noqa: E402, F401
from django.conf import settings  # noqa: E402 - Django first
from django.core.management import call_command  # noqa: E402
from django.core.management.base import CommandError  # noqa: E402

from glisk.clients.chain import ChainClient  # noqa: E402
from glisk.engine.drain import run_drain  # noqa: E402
from glisk.engine.process import Flag  # noqa: E402
from glisk.tests.pace import hurry  # noqa: E402
from reveals import outbox  # noqa: E402
from reveals.keeper import Keeper  # noqa: E402
from reveals.pipeline import receipts  # noqa: E402
from reveals.tasks import RevealDrain  # noqa: E402

# The boundaries of the steps, each of which is a commit of its own: by which function death comes,
# and whether before it is called.
POINTS: dict[str, tuple[Any, str, bool]] = {
    "before reserve": (outbox, "reserve_batch", True),
    "reserved": (outbox, "_next_nonce", False),
    "composed": (outbox, "reserve_batch", False),
    "signed": (Keeper, "sign", False),
    "stored": (outbox, "store_signed", False),
    "broadcast": (ChainClient, "send_raw_transaction", False),
    "broadcast noted": (outbox, "mark_broadcast", False),
    "mined": (receipts, "look_for_receipts", False),
    "confirmed": (receipts, "confirm", True),
    "before the final commit": (receipts, "move_tokens", False),
    "after the final commit": (receipts, "confirm", False),
}


def doom(kill_at: str, nth: int) -> None:
    """Have this process killed at its n-th arrival."""
    owner, name, comes_first = POINTS[kill_at]
    original = getattr(owner, name)
    left = nth

    def doomed(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        result: Any = None if comes_first else original(*arguments, **named)
        if kill_at != "mined" or any(result.receipts.values()):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named) if comes_first else result

    setattr(owner, name, doomed)


def work(order: dict[str, Any]) -> None:
    """Run drains until SIGTERM; the slot of a killed one may take a moment to be free."""
    os.environ.update(order.get("environment", {}))
    for name, value in order["settings"].items():
        setattr(settings, name, value)
    hurry(setattr)
    if order.get("kill_at"):
        doom(order["kill_at"], int(order.get("nth", 1)))
    if order.get("command"):
        run_command(order["command"], Path(order["output"]))
        return
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


def run_command(command: list[str], output: Path) -> None:
    with output.open("w", buffering=1) as out:
        try:
            call_command(*command, stdout=out)
        except CommandError as error:
            out.write(f"{error}\nstatus {error.returncode}\n")
        else:
            out.write("status 0\n")


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

"""What every process of the supervisor's tree does first: never outlive its parent."""

import signal
from collections.abc import Callable
from typing import Any

from glisk.engine.lifeline import die_with


def run_child(parent: int, target: Callable[..., Any], *args: Any) -> None:
    """Run `target(*args)` in a process forked by `parent`; for `Process(target=…)`.

    Stop signals go to whole process groups (systemd, Ctrl-C). Only the supervisor heeds them:
    a child that died of one would take the calls that it makes with it.
    """
    for stop_signal in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(stop_signal, signal.SIG_IGN)
    die_with(parent)
    target(*args)

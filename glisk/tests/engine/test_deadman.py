"""A process that stood still for too long is killed, and no other."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="POSIX timers of Linux"),
]

# A machine that gives a process no time for so long would be taken for a freeze.
_LIMIT_SECONDS = 1.5
_LONGER = 1.9
_PATIENCE_SECONDS = 60
_START = f"""
import os, signal, sys, time
from glisk.engine.process import DeadMan
deadman = DeadMan({_LIMIT_SECONDS})
deadman.__enter__()
"""


def run(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _START + code], stdout=subprocess.PIPE, text=True
    )


def test_a_stopped_process_never_wakes_up() -> None:
    with run("os.kill(os.getpid(), signal.SIGSTOP); print('thawed')") as process:
        assert process.wait(_PATIENCE_SECONDS) == -signal.SIGKILL  # nobody has sent it SIGCONT
        assert process.communicate()[0] == ""


def test_a_process_that_is_only_busy_or_waits_lives_on() -> None:
    for work in ("while time.monotonic() < until: pass", f"time.sleep({_LONGER})"):
        code = f"until = time.monotonic() + {_LONGER}\n{work}\nprint('alive')"
        with run(code) as process:
            assert process.communicate(timeout=_PATIENCE_SECONDS)[0] == "alive\n"
            assert process.returncode == 0


def test_what_was_ended_kills_nobody() -> None:
    code = "deadman.__exit__(); os.kill(os.getpid(), signal.SIGSTOP); print('thawed')"
    with run(code) as process:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(_LONGER)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=_PATIENCE_SECONDS)[0] == "thawed\n"


def test_a_forked_child_is_not_watched() -> None:
    code = f"""
if os.fork() == 0:
    time.sleep({_LONGER})
    os._exit(0)
deadman.__exit__()
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    with run(code) as process:
        assert process.communicate(timeout=_PATIENCE_SECONDS)[0] == "0\n"

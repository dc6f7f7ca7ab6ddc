"""A clock that is set wrong tells another time at once, and measures as before."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.chaos.clock import Clock

READ = "import datetime as d, time; input(); print(time.time(), d.datetime.now().timestamp())"


def test_a_process_reads_the_clock_that_was_set(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", READ],
        env={**os.environ, **clock.env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        clock.set(90)
        told, _ = process.communicate("\n", timeout=30)
    ahead = [float(seconds) - time.time() for seconds in told.split()]
    assert ahead == [pytest.approx(90, abs=5)] * 2

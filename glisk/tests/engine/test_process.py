"""A process that hangs on its parent ends with it, even if that was gone before it hung on."""

import signal
import subprocess
import sys

import psutil
import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's"),
]

CHILD = """
import os, signal, sys, time
from glisk.engine.process import die_with
die_with(int(sys.argv[1] or os.getppid()), signal.SIGTERM)
print("hangs on", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], ""], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_child_ends_with_its_killed_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_child_whose_parent_is_gone_already_ends_at_once() -> None:
    gone = "1" if psutil.Process().pid != 1 else "2"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, gone], capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")

"""What a start takes: the CPU until the web server answers, that of commands, and their modules.

CPU of the quickest of several starts, by the kernel's clocks; modules as Python's own
`-X importtime` counts them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

from benchmarks.instruments import usage
from benchmarks.report import Options, Result
from benchmarks.scene import bare_world
from sandbox.ports import is_free
from sandbox.world import BASE_DIR, World

OPTIONS: Options = {"rounds": (5, "starts of each")}
STARTS = {
    "help": ("manage.py", "help"),
    "pipeline_status": ("manage.py", "pipeline_status"),
    "web": ("-c", "import glisk.wsgi"),
}


def run(options: argparse.Namespace) -> Result:
    """Start everything again and again, on a database without tokens."""
    with bare_world("start_up") as world:
        world.database_url()
        world.manage("migrate", "--verbosity", "0")
        figures = {f"{name}_modules": float(_modules(world, name)) for name in STARTS}
        for name in STARTS:
            cpu = min(_cpu_seconds(world, name) for _ in range(options.rounds))
            figures[f"{name}_cpu_s"] = cpu
    return Result(
        dict(figures),
        (f"the quickest of {options.rounds}; web: gunicorn and its workers until they answer",),
    )


def _start(world: World, name: str, *flags: str) -> str:
    command = [sys.executable, *flags, *STARTS[name]]
    # A status other than 0 tells of what is wrong: there is no worker.
    found = subprocess.run(
        command, cwd=BASE_DIR, env=world.env, capture_output=True, text=True, check=False
    )
    if "Traceback" in found.stderr:
        raise RuntimeError(f"{name} failed:\n{found.stderr[-2000:]}")
    return found.stderr


def _modules(world: World, name: str) -> int:
    return _start(world, name, "-X", "importtime").count("import time:")


def _cpu_seconds(world: World, name: str) -> float:
    if name == "web":
        return _web_seconds(world)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _start(world, name)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _web_seconds(world: World) -> float:
    for _ in range(100):
        if is_free(world.ports.web):  # else the one before is about to leave
            break
        time.sleep(0.1)
    world.start_apps(migrate=False)  # until it answers
    try:
        return usage([world.services["web"].pid]).cpu_seconds
    finally:
        world.services["web"].stop()

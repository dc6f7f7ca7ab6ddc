"""A machine loses its network for good: how soon does another one do its work?

Three machines, each a network namespace: PostgreSQL, and two workers, linked to it by a cable of
their own. The cable of the one that has the reveals is pulled. Linux, root.
"""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from benchmarks.report import NotHere, Options, Result
from benchmarks.tcp_postgres import tcp_postgres
from sandbox.world import BASE_DIR, Ports, World, WorldOptions

OPTIONS: Options = {}
_SERVER = "10.213.0.1"
_READY_SECONDS = 60.0
_GIVEN_UP_SECONDS = 300.0


def run(_options: argparse.Namespace) -> Result:
    """Pull the cable of the worker that reveals, and wait for the other one."""
    with ExitStack() as stack:
        seconds = _measure(stack)
    return Result(
        {"taken_over_s": seconds},
        (
            "from the moment when nothing passes the cable of the worker that reveals until the "
            "other worker's heartbeat says that it does",
        ),
    )


def _measure(stack: ExitStack) -> float:
    tag = secrets.token_hex(2)
    server = _machine(stack, f"glisk-{tag}-db")
    _ip("-n", server, "address", "add", f"{_SERVER}/32", "dev", "lo")
    within = ("ip", "netns", "exec")
    postgres = stack.enter_context(tcp_postgres(_SERVER, within=[*within, server]))
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glisk-takeover-")))
    environment = {"LOG_LEVEL": "WARNING", "DATABASE_URL": postgres.url}
    world = World(directory, ports=Ports.free(), options=WorldOptions(env=environment))
    world.manage("migrate", "--verbosity=0", DATABASE_URL=postgres.socket_url)
    look = stack.enter_context(psycopg.connect(postgres.socket_url, autocommit=True))
    machines, workers = [_worker_machine(stack, server, tag, number) for number in (1, 2)], []
    for machine in machines:
        command = [*within, machine, sys.executable, "manage.py", "qcluster"]
        workers.append(stack.enter_context(_process(command, world.env, directory / machine)))
        _until(lambda: _pids(look, "%") >= {w.pid for w in workers}, _READY_SECONDS)
    _until(lambda: bool(_pids(look, "reveal")), _READY_SECONDS)
    (had_it,) = _pids(look, "reveal")
    lost = next(n for n, worker in enumerate(workers) if worker.pid == had_it)
    # Nothing passes any more; the server is not told.
    _ip("-n", machines[lost], "link", "set", f"v{tag}{lost + 1}a", "down")
    pulled_at = time.monotonic()
    _until(lambda: workers[1 - lost].pid in _pids(look, "reveal"), _GIVEN_UP_SECONDS)
    return time.monotonic() - pulled_at


def _machine(stack: ExitStack, name: str) -> str:
    """Make a network namespace."""
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "delete", name)
    _ip("-n", name, "link", "set", "lo", "up")
    return name


def _worker_machine(stack: ExitStack, server: str, tag: str, number: int) -> str:
    """Make a machine with a cable to the server: a pair of veth devices."""
    name = _machine(stack, f"glisk-{tag}-w{number}")
    here, there = f"v{tag}{number}a", f"v{tag}{number}b"
    _ip("-n", name, "link", "add", here, "type", "veth", "peer", "name", there)
    _ip("-n", name, "link", "set", there, "netns", server)
    for machine, device, last in ((name, here, 2), (server, there, 1)):
        _ip("-n", machine, "address", "add", f"10.213.{number}.{last}/24", "dev", device)
        _ip("-n", machine, "link", "set", device, "up")
    _ip("-n", name, "route", "add", _SERVER, "via", f"10.213.{number}.1")
    return name


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotHere("the program ip (iproute2) is missing") from error
    if done.returncode:
        raise NotHere(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@contextmanager
def _process(
    command: list[str], environment: dict[str, str], log_file: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=BASE_DIR, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()  # its children die with it
        process.wait()


def _pids(look: psycopg.Connection, stage: str) -> set[int]:
    """Return the main processes of the workers that have a drain of a stage (% is any)."""
    rows = look.execute(
        "SELECT main_pid FROM worker_heartbeats WHERE stage LIKE %s AND stage <> 'supervisor'",
        [stage],
    )
    return {pid for (pid,) in rows}


def _until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.05)

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

from benchmarks.report import NotHere, Report, machine_facts, rounded
from benchmarks.tcp_postgres import tcp_postgres
from sandbox.ports import Ports
from sandbox.recipes import BASE_DIR, Recipes, WorldOptions

NAME = "takeover"
_READY_SECONDS = 60.0
_GIVEN_UP_SECONDS = 300.0


class Machine:
    """A network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]


class Network:
    """A server's machine and others, each linked to it by a cable (a pair of veth devices)."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._tag = secrets.token_hex(2)
        self.server = self._machine("db")
        self.server_address = "10.213.0.1"
        _ip("-n", self.server.name, "address", "add", f"{self.server_address}/32", "dev", "lo")
        self._devices: dict[str, str] = {}  # of the machines, by name

    def add(self) -> Machine:
        """Add a machine with a cable to the server."""
        number = len(self._devices) + 1
        machine = self._machine(f"w{number}")
        mine, theirs = f"10.213.{number}.2", f"10.213.{number}.1"
        here, there = f"v{self._tag}{number}a", f"v{self._tag}{number}b"
        self._devices[machine.name] = here
        _ip("-n", machine.name, "link", "add", here, "type", "veth", "peer", "name", there)
        _ip("-n", machine.name, "link", "set", there, "netns", self.server.name)
        for name, device, address in (
            (machine.name, here, mine),
            (self.server.name, there, theirs),
        ):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
        _ip("-n", machine.name, "route", "add", self.server_address, "via", theirs)
        return machine

    def _machine(self, name: str) -> Machine:
        machine = Machine(f"glisk-{self._tag}-{name}")
        _ip("netns", "add", machine.name)
        self._stack.callback(_ip, "netns", "delete", machine.name)
        _ip("-n", machine.name, "link", "set", "lo", "up")
        return machine

    def pull_cable(self, machine: Machine) -> None:
        """Let nothing pass any more; the server is not told."""
        _ip("-n", machine.name, "link", "set", self._devices[machine.name], "down")


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotHere("the program ip (iproute2) is missing") from error
    if done.returncode:
        raise NotHere(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__


def run(options: argparse.Namespace) -> Report:
    """Pull the cable of the worker that reveals, and wait for the other one."""
    machine = machine_facts()
    with ExitStack() as stack:
        seconds = _measure(stack)
    return Report(
        name=NAME,
        figures=rounded({"taken_over_s": seconds}),
        floor={},
        machine=machine,
        notes=(
            "from the moment when nothing passes the cable of the worker that reveals until the "
            "other worker's heartbeat says that it does",
        ),
    )


def _measure(stack: ExitStack) -> float:
    network = Network(stack)
    server = stack.enter_context(
        tcp_postgres(network.server_address, within=network.server.command())
    )
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glisk-takeover-")))
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0"],
        check=True,
        cwd=BASE_DIR,
        env=_environment(server.socket_url, directory),
    )
    environment = _environment(server.url, directory)
    look = stack.enter_context(psycopg.connect(server.socket_url, autocommit=True))
    machines = network.add(), network.add()
    workers = []
    for machine in machines:
        workers.append(stack.enter_context(_worker(machine, environment, directory)))
        _until(lambda: _pids(look, "pipeline") >= {w.pid for w in workers}, _READY_SECONDS)
    _until(lambda: bool(_pids(look, "reveal")), _READY_SECONDS)
    (had_it,) = _pids(look, "reveal")
    lost = next(n for n, worker in enumerate(workers) if worker.pid == had_it)
    network.pull_cable(machines[lost])
    pulled_at = time.monotonic()
    _until(lambda: workers[1 - lost].pid in _pids(look, "reveal"), _GIVEN_UP_SECONDS)
    return time.monotonic() - pulled_at


def _environment(url: str, directory: Path) -> dict[str, str]:
    """Return the settings of a local world of which only the database runs."""
    world = Recipes(directory, Ports.free(), WorldOptions(env={"LOG_LEVEL": "WARNING"}))
    return {**world.env, "DATABASE_URL": url}


@contextmanager
def _worker(
    machine: Machine, environment: dict[str, str], directory: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / f"{machine.name}.log").open("wb") as log:
        process = subprocess.Popen(
            machine.command(sys.executable, "manage.py", "qcluster"),
            cwd=BASE_DIR,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()  # its children die with it
        process.wait()


def _pids(look: psycopg.Connection, stage: str) -> set[int]:
    """Return the main processes of the workers that have a drain of a stage."""
    rows = look.execute("SELECT main_pid FROM worker_heartbeats WHERE stage = %s", [stage])
    return {pid for (pid,) in rows}


def _until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.05)

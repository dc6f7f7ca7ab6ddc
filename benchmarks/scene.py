"""A whole world for one measurement, started and ended with it."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks.chain_watch import ChainWatch
from benchmarks.processes import Usage, pss_mb, usage
from benchmarks.statements import StatementLog
from sandbox.world import BASE_DIR, Ports, World, WorldOptions, claimed

PROGRAM = ("web", "worker")
EMULATORS = ("replicate", "pinata", "gateway", "alchemy")
_QUIET = {"LOG_LEVEL": "WARNING"}
# The drains of a worker, and the switches of which one at least must be on.
_DRAINS = {
    "pipeline": ("ENABLE_IMAGE_WORKER", "ENABLE_IPFS_WORKER"),
    "reveal": ("ENABLE_REVEAL_WORKER",),
}


@dataclass
class Scene:
    """A running world and the instruments that look at it."""

    world: World
    watch: ChainWatch
    statements: StatementLog

    def usage(self, *kinds: str) -> Usage:
        """Return what the process trees of these kinds of service have used so far."""
        return usage(self.pids(*kinds))

    def pss_mb(self, *kinds: str) -> float:
        return pss_mb(self.pids(*kinds))

    def pids(self, *kinds: str) -> list[int]:
        """Return the first process of each service: web, worker, node, …, or postgres."""
        found = [
            service.pid
            for name, service in self.world.services.items()
            if name.split("-")[0] in kinds
        ]
        return [*found, self.statements.server_pid] if "postgres" in kinds else found


@contextmanager
def scene(name: str, options: WorldOptions) -> Iterator[Scene]:
    """Start everything on free ports in a directory of its own; leave nothing behind.

    To be used from the main thread: SIGTERM ends it in order, as Ctrl-C does. The ends of the
    logs are shown if it fails.
    """
    parent = BASE_DIR / "var" / "benchmarks"
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    options = replace(options, env={**_QUIET, **options.env})
    world = World(directory, ports=Ports.free(), options=options)
    with _one_signal_ends(), ExitStack() as stack:
        stack.callback(_end, world)
        try:
            world.start_vendors()
            statements = StatementLog(directory / "postgres")
            stack.callback(statements.close)
            world.start_apps()
            watch = stack.enter_context(ChainWatch(world.ports.url("node")))
            if options.workers:
                statements.wait_for(_drains_run(options), timeout_seconds=30)
            yield Scene(world, watch, statements)
        except Exception:
            _show_logs(world)
            raise


def _drains_run(options: WorldOptions) -> str:
    """Return a query that is true when each drain that is switched on runs."""
    wanted = [
        stage
        for stage, switches in _DRAINS.items()
        if any(options.env.get(switch) != "false" for switch in switches)
    ]
    stages = ", ".join(f"'{stage}'" for stage in wanted)
    return (
        f"SELECT count(DISTINCT stage) = {len(wanted)} FROM worker_heartbeats "
        f"WHERE stage IN ({stages})"
    )


@contextmanager
def bare_world(name: str, keep: Path | None = None) -> Iterator[World]:
    """Yield a world of which nothing but the database will be started; leave nothing behind.

    With `keep` it lives in that directory, with what an earlier run left there, and the directory
    stays. Raises `DirectoryInUse` if another world runs in it.
    """
    parent = BASE_DIR / "var" / "benchmarks"
    parent.mkdir(parents=True, exist_ok=True)
    directory = keep or Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    options = WorldOptions(workers=0, env=dict(_QUIET))
    world = World(directory, ports=Ports.free(), options=options)
    with _one_signal_ends(), ExitStack() as stack:
        if keep:
            stack.enter_context(claimed(world.directory))
            world.directory.mkdir(exist_ok=True)
        stack.callback(world.stop if keep else partial(_end, world))
        try:
            yield world
        except Exception:
            _show_logs(world)
            raise


def _end(world: World) -> None:
    """Stop everything and delete what it wrote."""
    world.stop()
    shutil.rmtree(world.directory, ignore_errors=True)


@contextmanager
def _one_signal_ends() -> Iterator[None]:
    """Unwind at the first SIGINT or SIGTERM; further ones cannot cut the clean-up short."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {each: signal.signal(each, end) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _show_logs(world: World) -> None:
    for service in world.services.values():
        if tail := service.log_tail():
            print(f"--- {service.name}\n{tail}", file=sys.stderr)

"""A whole local world: node, contract, emulated vendors, and the program itself.

    python -m sandbox.world            run it until Ctrl-C, on the ports that .env names
    python -m sandbox.world --apps     the web server and a worker as well

Everything runs as it does in production; only URLs and keys differ. What the world writes (chain,
pinned files, database, logs) stays in its directory, so that a second start goes on from there.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from glisk.config import ConfigurationError
from glisk.database.embedded_postgres import ensure_running
from glisk.database.embedded_postgres import stop as stop_database
from sandbox.accounts import KEEPER
from sandbox.anvil import AnvilInstallError, ensure_anvil
from sandbox.chain import DemoChain
from sandbox.ports import NAMES, Ports
from sandbox.recipes import BASE_DIR, Recipes, WorldOptions
from sandbox.services import Service, ServiceError, Watchdog

__all__ = ["DirectoryInUse", "Ports", "World", "WorldOptions", "claimed", "reset_directory"]

_NEW_CHAIN = (
    "The chain is new. A database that knows the old one does not fit it: end web and worker, "
    "empty it by `.venv/bin/python manage.py flush`, start them again."
)
_WORKERS_READY_SECONDS = 120.0  # a busy machine


class DirectoryInUse(Exception):
    """Another world runs in the same directory."""


class World:
    """Start with `start()`; `services` are the running processes by name."""

    def __init__(self, directory: Path, *, ports: Ports, options: WorldOptions) -> None:
        self.directory, self.ports, self.options = directory.resolve(), ports, options
        self.services: dict[str, Service] = {}
        self._watchdog: Watchdog | None = None
        self.recipes = Recipes(self.directory, ports, options)
        self.env = self.recipes.env
        self.chain = DemoChain(ports.url("node"))

    def manage(self, *arguments: str, **variables: str) -> str:
        """Run a management command and return what it prints; secrets go by `variables`."""
        result = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            env={**self.env, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if result.returncode != 0:
            raise RuntimeError(f"manage.py {arguments[0]} failed:\n{result.stderr[-3000:]}")
        return result.stdout

    # -- life ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything, and keep it running from then on."""
        with ThreadPoolExecutor(1) as pool:
            migrated = pool.submit(self.manage, "migrate", "--verbosity", "0")
            self.start_vendors()
            migrated.result()
        self.start_apps(migrate=False)
        self.watch()

    def start_vendors(self) -> None:
        """Start node and emulators, and deploy the contract.

        Raises `PortsTaken` if somebody else listens at one of their ports.
        """
        self.ports.require_free([name for name in NAMES if name != "web"])
        ensure_anvil()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ports.write(self.directory)
        vendors = [
            self.recipes.node(is_ready=self._node_answers),
            self.recipes.replicate(),
            self.recipes.pinata(),
            self.recipes.gateway(),
        ]
        for service in vendors:
            self._add(service)
        for service in vendors:
            service.wait_ready()
        self.chain.deploy(KEEPER.address)
        alchemy = self._add(self.recipes.alchemy(self.chain.contract.address))
        alchemy.wait_ready()

    def start_apps(self, *, migrate: bool = True) -> None:
        """Bring the tables up to date, then start the web server and the workers.

        Raises `PortsTaken` if somebody else listens at the web server's port.
        """
        self.ports.require_free(["web"])
        if migrate:
            self.manage("migrate", "--verbosity", "0")
        web = self._add(self.recipes.web())
        for _ in range(self.options.workers):
            self.add_worker()
        web.wait_ready()

    def add_worker(self) -> Service:
        """Start one more qcluster, as on one more machine."""
        number = 1 + sum(name.startswith("worker-") for name in self.services)
        return self._add(self.recipes.worker(number))

    def wait_for_workers(self) -> None:
        """Return when all stages have a drain that says it is alive."""
        deadline = time.monotonic() + _WORKERS_READY_SECONDS
        while not {"generation", "upload", "reveal"} <= self._stages_alive():
            if time.monotonic() > deadline:
                tail = self.services["worker-1"].log_tail()
                raise ServiceError(f"the worker has not begun to work:\n{tail}")
            time.sleep(0.05)

    def _stages_alive(self) -> set[str]:
        url = self.ports.url("web") + "/health/workers"
        with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2) as answer:
            return {worker["stage"] for worker in json.load(answer)["workers"]}
        return set()

    def database_url(self) -> str:
        """Return the URL of the program's database; the embedded one starts if need be."""
        given = self.env.get("DATABASE_URL")
        return given or ensure_running(Path(self.env["EMBEDDED_DATABASE_DIR"]))

    @property
    def broken(self) -> list[Service]:
        """The services that ended so often that nobody starts them again."""
        return [service for service in self.services.values() if service.gave_up]

    def watch(self) -> None:
        """Bring services back from now on when they end."""
        self._watchdog = Watchdog(lambda: list(self.services.values()))
        self._watchdog.start()

    def stop(self) -> None:
        """End everything, the program first; leave no process behind."""
        if self._watchdog is not None:
            self._watchdog.stop()
        order = ["worker", "web", "alchemy", "replicate", "pinata", "gateway", "node"]
        stops = []
        for kind in order:
            for name, service in list(self.services.items()):
                if name.split("-")[0] == kind:
                    thread = threading.Thread(target=service.stop)
                    thread.start()
                    stops.append(thread)
            if kind == "web":
                for thread in stops:
                    thread.join()
        for thread in stops:
            thread.join()
        self.services.clear()
        self._stop_database()

    def _stop_database(self) -> None:
        if not self.env.get("DATABASE_URL"):
            stop_database(Path(self.env["EMBEDDED_DATABASE_DIR"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _node_answers(self) -> bool:
        with suppress(Exception):
            return bool(self.chain.w3.is_connected())
        return False

    def _add(self, service: Service) -> Service:
        self.services[service.name] = service
        service.start()
        return service

    # -- what the vendors saw -----------------------------------------------------------

    def control(self, name: str, path: str, body: Any = None) -> Any:
        """Ask an emulator's control port: `calls`, `bill`, `faults`, `reset`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.ports.url(name)}/_sandbox/{path}",
            data=data,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)


def reset_directory(directory: Path) -> None:
    """Delete what an earlier world left, so that this one begins with an empty chain."""
    if (directory / "postgres").exists():
        stop_database(directory / "postgres")
    if directory.exists():
        shutil.rmtree(directory)


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Have the directory for oneself; raises `DirectoryInUse` if somebody else has it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Beside the directory, which may be deleted.
    lock = os.open(directory.with_name(directory.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryInUse(str(directory)) from None
        yield
    finally:
        os.close(lock)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sandbox", description=__doc__)
    parser.add_argument("--directory", type=Path, default=BASE_DIR / "var" / "sandbox")
    parser.add_argument("--block-time", type=float, default=2.0, help="seconds (default 2)")
    parser.add_argument("--generation-seconds", default="1.0", help="seconds, or LOW:HIGH")
    parser.add_argument("--pin-seconds", default="0.2", help="seconds, or LOW:HIGH")
    parser.add_argument("--apps", action="store_true", help="start web server and worker too")
    parser.add_argument("--fresh", action="store_true", help="forget the chain of the last run")
    chosen = parser.parse_args()
    options = WorldOptions(
        block_time=chosen.block_time,
        generation_seconds=chosen.generation_seconds,
        pin_seconds=chosen.pin_seconds,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with claimed(chosen.directory):
            if chosen.fresh:
                reset_directory(chosen.directory)
            ports = Ports.from_environment()
            world = World(chosen.directory, ports=ports, options=options)
            _serve(world, apps=chosen.apps, fresh=chosen.fresh)
    except KeyboardInterrupt:
        return 0
    except DirectoryInUse as error:
        print(f"Another world runs in {error}.", file=sys.stderr)
    except (AnvilInstallError, ConfigurationError, ServiceError, RuntimeError) as error:
        print(error, file=sys.stderr)
    return 1


def _serve(world: World, *, apps: bool, fresh: bool) -> None:
    """Run the world until it is interrupted."""
    with world:
        try:
            world.start_vendors()
            if apps:
                world.start_apps()
            world.watch()
            for name in NAMES[: None if apps else -1]:
                print(f"{name:10} {world.ports.url(name)}")
            print(f"{'contract':10} {world.chain.contract.address}")
            if fresh and not apps:
                print(_NEW_CHAIN)
            print("make mint mints, make rehearse lets something fail. Ctrl-C ends it.", flush=True)
            threading.Event().wait()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C would leave half of it


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

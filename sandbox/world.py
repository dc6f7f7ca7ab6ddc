"""A whole local world: node, contract, emulated vendors, and the program itself.

    python -m sandbox.world            run it until Ctrl-C, on the ports of .env.example
    python -m sandbox.world --apps     the web server and a worker as well

Everything runs as it does in production; only URLs and keys differ. What the world writes (chain,
pinned files, database, logs) stays in its directory, so that a second start goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from glisk.config import read_env_file
from sandbox.accounts import KEEPER
from sandbox.anvil import ensure_anvil
from sandbox.chain import DemoChain
from sandbox.node import free_port
from sandbox.services import Service, Watchdog

BASE_DIR = Path(__file__).resolve().parent.parent
NAMES = ("node", "replicate", "pinata", "gateway", "alchemy", "web")


@dataclass(frozen=True)
class Ports:
    """Where everything listens on 127.0.0.1; the defaults are those of .env.example."""

    node: int = 8545
    replicate: int = 8601
    pinata: int = 8602
    gateway: int = 8603
    alchemy: int = 8604
    web: int = 8000

    @classmethod
    def free(cls) -> Self:
        return cls(**{name: free_port() for name in NAMES})

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{getattr(self, name)}"


@dataclass(frozen=True)
class WorldOptions:
    """`block_time` and the vendors' times are in seconds; `env` overrides the program's."""

    block_time: float = 2.0
    generation_seconds: str = "1.0"
    pin_seconds: str = "0.2"
    image_size: int = 0
    distinct_images: int = 0
    workers: int = 1
    env: dict[str, str] = field(default_factory=dict)


class World:
    """Start with `start()`; `services` are the running processes by name."""

    def __init__(self, directory: Path, *, ports: Ports, options: WorldOptions) -> None:
        self.directory, self.ports, self.options = directory.resolve(), ports, options
        self.services: dict[str, Service] = {}
        self._watchdog: Watchdog | None = None
        self.env = self._environment()
        self.chain = DemoChain(ports.url("node"))

    # -- environment --------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        """Return the program's environment: .env.example, with this world's places in it."""
        example = read_env_file(BASE_DIR / ".env.example")
        url = self.ports.url
        return {
            **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
            **example,
            "GLISK_ENV_FILE": "",
            "DJANGO_SETTINGS_MODULE": "glisk.settings",
            "PYTHONUNBUFFERED": "1",
            "EMBEDDED_DATABASE_DIR": str(self.directory / "postgres"),
            "PORT": str(self.ports.web),
            "PUBLIC_BASE_URL": url("web"),
            "RPC_URL": url("node"),
            "REPLICATE_BASE_URL": url("replicate"),
            "REPLICATE_OUTPUT_HOSTS": f"127.0.0.1:{self.ports.replicate}",
            "PINATA_API_URL": url("pinata"),
            "PINATA_GATEWAY": url("gateway"),
            **self.options.env,
        }

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it prints."""
        result = subprocess.run(  # noqa: S603 - our own commands
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if result.returncode != 0:
            raise RuntimeError(f"manage.py {arguments[0]} failed:\n{result.stderr[-3000:]}")
        return result.stdout

    # -- life ---------------------------------------------------------------------------

    def start_vendors(self) -> None:
        """Start node and emulators, and deploy the contract."""
        ensure_anvil()
        self.directory.mkdir(parents=True, exist_ok=True)
        vendors = [self._node(), self._replicate(), self._pinata(), self._gateway()]
        for service in vendors:
            self._add(service)
        for service in vendors:
            service.wait_ready()
        self.chain.deploy(KEEPER.address)
        alchemy = self._add(self._alchemy())
        alchemy.wait_ready()

    def start_apps(self) -> None:
        """Bring the tables up to date, then start the web server and the workers."""
        self.manage("migrate", "--verbosity", "0")
        web = self._add(self._web())
        for number in range(1, self.options.workers + 1):
            self._add(self.worker(number))
        web.wait_ready()

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
            from glisk.embedded_postgres import stop

            stop(Path(self.env["EMBEDDED_DATABASE_DIR"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _add(self, service: Service) -> Service:
        self.services[service.name] = service
        service.start()
        return service

    # -- services -----------------------------------------------------------------------

    def _service(self, name: str, command: list[str], *, ready_path: str | None) -> Service:
        url = self.ports.url(name) if name in NAMES else ""

        def is_ready() -> bool:
            with suppress(OSError, ValueError):
                with urllib.request.urlopen(url + str(ready_path), timeout=2):  # noqa: S310
                    return True
            return False

        return Service(
            name,
            [sys.executable, *command],
            env=self.env,
            log_file=self.directory / "logs" / f"{name}.log",
            cwd=BASE_DIR,
            is_ready=is_ready if ready_path is not None else None,
        )

    def _emulator(self, name: str, *arguments: str) -> Service:
        port = str(getattr(self.ports, name))
        log = str(self.directory / "logs" / f"{name}-calls.jsonl")
        command = ["-m", f"sandbox.{name}", "--port", port, "--log-file", log, *arguments]
        return self._service(name, command, ready_path="/_sandbox/health")

    def _node(self) -> Service:
        command = [
            "-m", "sandbox.node",
            "--port", str(self.ports.node),
            "--block-time", str(self.options.block_time),
            "--state-file", str(self.directory / "chain" / "state.json.gz"),
            "--log-file", str(self.directory / "logs" / "anvil.log"),
        ]  # fmt: skip
        service = self._service("node", command, ready_path=None)
        service._is_ready = self._node_answers
        return service

    def _node_answers(self) -> bool:
        with suppress(Exception):
            return bool(self.chain.w3.is_connected())
        return False

    def _replicate(self) -> Service:
        return self._emulator(
            "replicate",
            "--generation-seconds", self.options.generation_seconds,
            "--image-size", str(self.options.image_size),
            "--distinct-images", str(self.options.distinct_images),
            "--state-dir", str(self.directory / "replicate"),
        )  # fmt: skip

    def _pinata(self) -> Service:
        store = str(self.directory / "ipfs")
        return self._emulator("pinata", "--store", store, "--pin-seconds", self.options.pin_seconds)

    def _gateway(self) -> Service:
        return self._emulator("gateway", "--store", str(self.directory / "ipfs"))

    def _alchemy(self) -> Service:
        return self._emulator(
            "alchemy",
            "--rpc-url", self.ports.url("node"),
            "--contract", self.chain.contract.address,
            "--target", self.ports.url("web") + "/webhooks/alchemy",
            "--cursor-file", str(self.directory / "alchemy-cursor.json"),
        )  # fmt: skip

    def _web(self) -> Service:
        return self._service("web", ["-m", "gunicorn"], ready_path="/health")

    def worker(self, number: int) -> Service:
        return self._service(f"worker-{number}", ["manage.py", "qcluster"], ready_path=None)

    # -- what the vendors saw -----------------------------------------------------------

    def control(self, name: str, path: str, body: Any = None) -> Any:
        """Ask an emulator's control port: `calls`, `bill`, `faults`, `reset`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.ports.url(name)}/_sandbox/{path}",
            data=data,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return json.load(response)


def reset_directory(directory: Path) -> None:
    """Delete what an earlier world left, so that this one begins with an empty chain."""
    from glisk.embedded_postgres import stop

    if (directory / "postgres").exists():
        stop(directory / "postgres")
    if directory.exists():
        shutil.rmtree(directory)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sandbox", description=__doc__)
    parser.add_argument("--directory", type=Path, default=BASE_DIR / "var" / "sandbox")
    parser.add_argument("--block-time", type=float, default=2.0, help="seconds (default 2)")
    parser.add_argument("--generation-seconds", default="1.0", help="seconds, or LOW:HIGH")
    parser.add_argument("--pin-seconds", default="0.2", help="seconds, or LOW:HIGH")
    parser.add_argument("--apps", action="store_true", help="start web server and worker too")
    parser.add_argument("--fresh", action="store_true", help="forget the chain of the last run")
    chosen = parser.parse_args()
    if chosen.fresh:
        reset_directory(chosen.directory)
    options = WorldOptions(
        block_time=chosen.block_time,
        generation_seconds=chosen.generation_seconds,
        pin_seconds=chosen.pin_seconds,
    )
    if not chosen.apps:  # the program's own .env says where its database is
        options = replace(options, env={})
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with World(chosen.directory, ports=Ports(), options=options) as world:
        world.start_vendors()
        if chosen.apps:
            world.start_apps()
        world.watch()
        for name in NAMES[: None if chosen.apps else -1]:
            print(f"{name:10} {world.ports.url(name)}")
        print(f"{'contract':10} {world.chain.contract.address}\nCtrl-C ends it.", flush=True)
        stopping.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())

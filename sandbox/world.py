"""A whole local world: node, contract, emulated vendors, and the program itself.

Everything runs as it does in production; only URLs and keys differ. What the world writes (chain,
pinned files, database, logs) stays in its directory, so that a second start goes on from there.
`python -m sandbox` runs one.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from glisk.config.env_file import read_env_file
from glisk.database.embedded_postgres import ensure_running
from glisk.database.embedded_postgres import stop as stop_database
from sandbox.accounts import KEEPER
from sandbox.anvil import ensure_anvil
from sandbox.chain import DemoChain
from sandbox.ports import NAMES, Ports
from sandbox.services import Service, ServiceError, Watchdog

BASE_DIR = Path(__file__).resolve().parent.parent
# All that the program gets of our own environment: nothing of the developer's decides.
_PASSED_ON = ("PATH", "HOME", "LANG", "SSL_CERT_FILE")
_WORKERS_READY_SECONDS = 120.0  # a busy machine
_KEEPER_FILE = "keeper"
KEEPER_WEI = 10 * 10**18


class DirectoryInUse(Exception):
    """Another world runs in the same directory."""


class NoWorldError(Exception):
    """No local world runs where it was looked for; the message says what to start."""


@dataclass(frozen=True)
class WorldOptions:
    """`block_time` and the vendors' times are in seconds; `env` overrides the program's."""

    block_time: float = 2.0
    generation_seconds: str = "1.0"
    pin_seconds: str = "0.2"
    image_size: int = 1024
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

    @classmethod
    def find(cls, directory: Path | None = None) -> Self:
        """Return the world that runs in this directory, or in the first usual one.

        Raises NoWorldError.
        """
        usual = (BASE_DIR / "var" / "sandbox", BASE_DIR / "var" / "demo")
        for candidate in [directory] if directory else usual:
            if ports := Ports.read(candidate):
                world = cls(candidate, ports=ports, options=WorldOptions())
                if world._answers("pinata", "/_sandbox/health")() and world._node_answers():
                    return world
        where = f" in {directory}" if directory else ""
        raise NoWorldError(f"No local world runs{where}: start one with `make sandbox`.")

    def _environment(self) -> dict[str, str]:
        """Return the program's environment: .env.example, with this world's places in it."""
        url = self.ports.url
        return {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            **read_env_file(BASE_DIR / ".env.example"),
            "GLISK_ENV_FILE": "",
            "DJANGO_SETTINGS_MODULE": "glisk.settings",
            "PYTHONUNBUFFERED": "1",
            "EMBEDDED_DATABASE_DIR": str(self.directory / "postgres"),
            "METRICS_DIR": str(self.directory / "metrics"),
            "PORT": str(self.ports.web),
            "PUBLIC_BASE_URL": url("web"),
            "RPC_URL": url("node"),
            "REPLICATE_BASE_URL": url("replicate"),
            "REPLICATE_OUTPUT_HOSTS": f"127.0.0.1:{self.ports.replicate}",
            "PINATA_API_URL": url("pinata"),
            "PINATA_GATEWAY": url("gateway"),
            **self.options.env,
        }

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
        options, store = self.options, str(self.directory / "ipfs")
        vendors = [
            self._start(
                "node",
                ["-m", "sandbox.node", "--port", str(self.ports.node)],
                "--block-time", str(options.block_time),
                "--state-file", str(self.directory / "chain" / "state.json.gz"),
                "--log-file", str(self.directory / "logs" / "anvil.log"),
                is_ready=self._node_answers,
            ),
            self._start_emulator(
                "replicate",
                "--generation-seconds", options.generation_seconds,
                "--image-size", str(options.image_size),
                "--distinct-images", str(options.distinct_images),
                "--state-dir", str(self.directory / "replicate"),
            ),
            self._start_emulator("pinata", "--store", store, "--pin-seconds", options.pin_seconds),
            self._start_emulator("gateway", "--store", store),
        ]  # fmt: skip
        for service in vendors:
            service.wait_ready()
        self._employ_keeper()
        self._start_emulator(
            "alchemy",
            "--rpc-url", self.ports.url("node"),
            "--contract", self.chain.contract.address,
            "--target", self.env["PUBLIC_BASE_URL"] + "/webhooks/alchemy",
            "--cursor-file", str(self.directory / "alchemy-cursor.json"),
        ).wait_ready()  # fmt: skip

    def _employ_keeper(self) -> None:
        """Deploy the contract, give the program's keeper its role, and ETH if it has none."""
        keeper = self.env.get("KEEPER_ADDRESS") or KEEPER.address
        self.chain.deploy(keeper)
        if not self.chain.balance_wei(keeper):
            self.chain.set_balance(keeper, KEEPER_WEI)
        (self.directory / _KEEPER_FILE).write_text(keeper)

    @property
    def keeper(self) -> str:
        """The address that reveals here."""
        file = self.directory / _KEEPER_FILE
        return file.read_text() if file.exists() else KEEPER.address

    def start_apps(self, *, migrate: bool = True) -> None:
        """Bring the tables up to date, then start the web server and the workers.

        Raises `PortsTaken` if somebody else listens at the web server's port.
        """
        self.ports.require_free(["web"])
        if migrate:
            self.manage("migrate", "--verbosity", "0")
        web = self._start("web", ["-m", "gunicorn"], is_ready=self._answers("web", "/health"))
        for _ in range(self.options.workers):
            self.add_worker()
        web.wait_ready()

    def add_worker(self, **env: str) -> Service:
        """Start one more qcluster, as on one more machine; `env` is what is different there."""
        number = 1 + sum(name.startswith("worker-") for name in self.services)
        return self._start(f"worker-{number}", ["manage.py", "qcluster"], env=env)

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
        self._watchdog = Watchdog(lambda: list(self.services.values()))
        self._watchdog.start()

    def stop(self) -> None:
        """End everything, the program first; leave no process behind."""
        if self._watchdog is not None:
            self._watchdog.stop()
        for is_program in (True, False):
            ended = [
                service
                for name, service in self.services.items()
                if name.startswith(("web", "worker")) == is_program
            ]
            with ThreadPoolExecutor() as pool:
                list(pool.map(Service.stop, ended))
        self.services.clear()
        if not self.env.get("DATABASE_URL"):
            stop_database(Path(self.env["EMBEDDED_DATABASE_DIR"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _node_answers(self) -> bool:
        with suppress(Exception):
            return bool(self.chain.w3.is_connected())
        return False

    def _answers(self, name: str, path: str) -> Callable[[], bool]:
        def is_ready() -> bool:
            url = self.ports.url(name) + path
            with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2):
                return True
            return False

        return is_ready

    def _start_emulator(self, name: str, *arguments: str) -> Service:
        log = str(self.directory / "logs" / f"{name}-calls.jsonl")
        port = str(getattr(self.ports, name))
        command = ["-m", "sandbox.emulators", name, "--port", port, "--log-file", log]
        is_ready = self._answers(name, "/_sandbox/health")
        return self._start(name, command, *arguments, is_ready=is_ready)

    def _start(
        self,
        name: str,
        command: list[str],
        *arguments: str,
        is_ready: Callable[[], bool] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Service:
        service = self.services[name] = Service(
            name,
            [sys.executable, *command, *arguments],
            env={**self.env, **(env or {})},
            log_file=self.directory / "logs" / f"{name}.log",
            cwd=BASE_DIR,
            is_ready=is_ready,
        )
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

"""How each part of a local world is started: commands, and the program's environment."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from glisk.config import read_env_file
from sandbox.ports import Ports
from sandbox.services import Service

BASE_DIR = Path(__file__).resolve().parent.parent
# All that the program gets of our own environment: nothing of the developer's decides.
_PASSED_ON = ("PATH", "HOME", "LANG")


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


class Recipes:
    """Make the services of one world; nothing is started here."""

    def __init__(self, directory: Path, ports: Ports, options: WorldOptions) -> None:
        self._directory, self._ports, self._options = directory, ports, options
        self.env = self._environment()

    def _environment(self) -> dict[str, str]:
        """Return the program's environment: .env.example, with this world's places in it."""
        url = self._ports.url
        return {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            **read_env_file(BASE_DIR / ".env.example"),
            "GLISK_ENV_FILE": "",
            "DJANGO_SETTINGS_MODULE": "glisk.settings",
            "PYTHONUNBUFFERED": "1",
            "EMBEDDED_DATABASE_DIR": str(self._directory / "postgres"),
            "PORT": str(self._ports.web),
            "PUBLIC_BASE_URL": url("web"),
            "RPC_URL": url("node"),
            "REPLICATE_BASE_URL": url("replicate"),
            "REPLICATE_OUTPUT_HOSTS": f"127.0.0.1:{self._ports.replicate}",
            "PINATA_API_URL": url("pinata"),
            "PINATA_GATEWAY": url("gateway"),
            **self._options.env,
        }

    def node(self, *, is_ready: Callable[[], bool]) -> Service:
        command = [
            "-m", "sandbox.node",
            "--port", str(self._ports.node),
            "--block-time", str(self._options.block_time),
            "--state-file", str(self._directory / "chain" / "state.json.gz"),
            "--log-file", str(self._directory / "logs" / "anvil.log"),
        ]  # fmt: skip
        return self._service("node", command, is_ready=is_ready)

    def replicate(self) -> Service:
        return self._emulator(
            "replicate",
            "--generation-seconds", self._options.generation_seconds,
            "--image-size", str(self._options.image_size),
            "--distinct-images", str(self._options.distinct_images),
            "--state-dir", str(self._directory / "replicate"),
        )  # fmt: skip

    def pinata(self) -> Service:
        store = str(self._directory / "ipfs")
        pin_seconds = self._options.pin_seconds
        return self._emulator("pinata", "--store", store, "--pin-seconds", pin_seconds)

    def gateway(self) -> Service:
        return self._emulator("gateway", "--store", str(self._directory / "ipfs"))

    def alchemy(self, contract_address: str) -> Service:
        return self._emulator(
            "alchemy",
            "--rpc-url", self._ports.url("node"),
            "--contract", contract_address,
            "--target", self._ports.url("web") + "/webhooks/alchemy",
            "--cursor-file", str(self._directory / "alchemy-cursor.json"),
        )  # fmt: skip

    def web(self) -> Service:
        return self._service("web", ["-m", "gunicorn"], is_ready=self._answers("web", "/health"))

    def worker(self, number: int) -> Service:
        return self._service(f"worker-{number}", ["manage.py", "qcluster"])

    def _emulator(self, name: str, *arguments: str) -> Service:
        port = str(getattr(self._ports, name))
        log = str(self._directory / "logs" / f"{name}-calls.jsonl")
        command = ["-m", f"sandbox.{name}", "--port", port, "--log-file", log, *arguments]
        return self._service(name, command, is_ready=self._answers(name, "/_sandbox/health"))

    def _service(
        self, name: str, command: list[str], *, is_ready: Callable[[], bool] | None = None
    ) -> Service:
        return Service(
            name,
            [sys.executable, *command],
            env=self.env,
            log_file=self._directory / "logs" / f"{name}.log",
            cwd=BASE_DIR,
            is_ready=is_ready,
        )

    def _answers(self, name: str, path: str) -> Callable[[], bool]:
        url = self._ports.url(name) + path

        def is_ready() -> bool:
            with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2):
                return True
            return False

        return is_ready

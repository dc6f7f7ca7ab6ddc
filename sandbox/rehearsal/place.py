"""Find the local world that runs, and speak with its parts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sandbox.chain import DemoChain
from sandbox.ports import Ports
from sandbox.recipes import BASE_DIR

USUAL_DIRECTORIES = (BASE_DIR / "var" / "sandbox", BASE_DIR / "var" / "demo")
_ANSWER_SECONDS = 10


class NoWorldError(Exception):
    """No local world runs where it was looked for; the message says what to start."""


class Place:
    """The vendors and the chain of a running world."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self.chain = DemoChain(ports.url("node"))

    @classmethod
    def find(cls, directory: Path | None = None) -> Place:
        """Return the world of this directory, or the first usual one that runs.

        Raises NoWorldError.
        """
        for candidate in [directory] if directory else USUAL_DIRECTORIES:
            ports = Ports.read(candidate)
            place = cls(ports) if ports else None
            if place is not None and place._answers():
                return place
        where = f" in {directory}" if directory else ""
        raise NoWorldError(f"No local world runs{where}: start one with `make sandbox`.")

    def set_faults(self, vendor: str, changes: dict[str, Any]) -> None:
        """Change how a vendor misbehaves."""
        request = urllib.request.Request(
            f"{self._ports.url(vendor)}/_sandbox/faults",
            data=json.dumps(changes).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):
                return
        except urllib.error.URLError as error:
            raise NoWorldError(f"The emulator of {vendor} does not answer: {error}") from error

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"{self._ports.url('pinata')}/_sandbox/health", timeout=_ANSWER_SECONDS
            ):
                return bool(self.chain.w3.is_connected())
        except OSError:
            return False

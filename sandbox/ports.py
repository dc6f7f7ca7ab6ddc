"""Where the parts of a local world listen."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from sandbox.node import free_port

_FILE = "ports.json"


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
        return cls(**{field.name: free_port() for field in fields(cls)})

    @classmethod
    def default_or_free(cls) -> Self:
        """Return the defaults, with a free port in the place of each that somebody has."""
        usual = cls()
        return cls(
            **{
                field.name: port if _is_free(port := getattr(usual, field.name)) else free_port()
                for field in fields(cls)
            }
        )

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Return the ports that a world wrote into its directory, or None."""
        with suppress(OSError, ValueError, TypeError):
            return cls(**json.loads((directory / _FILE).read_text()))
        return None

    def write(self, directory: Path) -> None:
        (directory / _FILE).write_text(json.dumps(asdict(self)))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{getattr(self, name)}"


NAMES = tuple(field.name for field in fields(Ports))


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # As servers do: a port that an ended server's connections linger on is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

"""Where the parts of a local world listen, and which keys they take, by .env."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from glisk.config.env_file import read_environment
from sandbox.node import free_port, is_free
from sandbox.services import ServiceError

_ENV_FILE = Path(__file__).resolve().parent.parent / ".env"
_FILE = "ports.json"
# Where the program looks for each part; further variables that a changed port concerns.
_VARIABLES = {
    "node": ("RPC_URL",),
    "replicate": ("REPLICATE_BASE_URL", "REPLICATE_OUTPUT_HOSTS"),
    "pinata": ("PINATA_API_URL",),
    "gateway": ("PINATA_GATEWAY",),
    "web": ("PORT", "PUBLIC_BASE_URL"),
}
# What the vendors know of the program, and where they call it.
_KEYS = (
    "ALCHEMY_WEBHOOK_SECRET",
    "KEEPER_ADDRESS",
    "PINATA_API_KEY",
    "PINATA_API_SECRET",
    "PINATA_JWT",
    "PUBLIC_BASE_URL",
    "REPLICATE_API_TOKEN",
    "REPLICATE_WEBHOOK_SECRET",
)


class PortsTaken(ServiceError):
    """Other programs listen where a world wants to; the message names ports and remedy."""


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
    def from_environment(cls) -> Self:
        """Return the ports at which the program, by the environment and .env, looks for each part.

        What it looks for on other machines gets its default. Nobody looks for Alchemy: its port
        is a free one if the default is taken.
        """
        variables = read_environment(_ENV_FILE)
        named = {name: _local_port(variables.get(of[0], "")) for name, of in _VARIABLES.items()}
        ports = cls(**{name: port for name, port in named.items() if port is not None})
        return ports if is_free(ports.alchemy) else replace(ports, alchemy=free_port())

    @classmethod
    def default_or_free(cls) -> Self:
        """Return the defaults, with a free port in the place of each that somebody has."""
        usual = cls()
        return cls(
            **{
                field.name: port if is_free(port := getattr(usual, field.name)) else free_port()
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

    def require_free(self, names: Sequence[str]) -> None:
        """Raise `PortsTaken` unless all of these are free.

        Another program there would answer in the place of ours: a node would get the contract.
        """
        taken = [name for name in names if not is_free(getattr(self, name))]
        if taken:
            lines = "\n".join(f"  {getattr(self, name)} ({_described(name)})" for name in taken)
            raise PortsTaken(
                f"Another program listens where the local world wants to:\n{lines}\n"
                "End it, or choose other ports."
            )

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{getattr(self, name)}"


def own_keys() -> dict[str, str]:
    """Return what the vendors must know of the program, as the environment and .env have it."""
    variables = read_environment(_ENV_FILE)
    return {name: variables[name] for name in _KEYS if variables.get(name)}


NAMES = tuple(field.name for field in fields(Ports))


def _described(name: str) -> str:
    variables = _VARIABLES.get(name)
    return f"{name}: {' and '.join(variables)} in .env" if variables else name


def _local_port(text: str) -> int | None:
    """Return the port of a number, a URL or `host:port`; None if it is not of this machine."""
    first = text.partition(",")[0].strip()
    if first.isdigit():
        return int(first)
    with suppress(ValueError):
        parts = urlsplit(first if "://" in first else f"//{first}")
        if parts.hostname in ("localhost", "127.0.0.1"):
            return parts.port
    return None

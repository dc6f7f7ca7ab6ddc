"""Who holds a lease: `host:main pid:pid:8 hex digits`, unique per drain run."""

import os
import secrets
import socket
from functools import lru_cache
from pathlib import Path

# The inode number that Linux gives to its first PID namespace (PROC_PID_INIT_INO).
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

_main_pid: int | None = None


@lru_cache(maxsize=1)
def host_name() -> str:
    """Return a name under which process ids are comparable.

    In a container it carries the PID namespace: two containers may share a host name, and
    process 7 of one is not process 7 of the other.
    """
    name = socket.gethostname()[:80]
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return name
    return name if namespace == _INITIAL_PID_NAMESPACE else f"{name}.{namespace}"


def set_main_pid(pid: int) -> None:
    """Make `pid` the supervisor of this process and of all that it forks."""
    global _main_pid
    _main_pid = pid


def main_pid() -> int:
    """Return the supervisor's pid; outside of a supervisor, this process's own."""
    return os.getpid() if _main_pid is None else _main_pid


def is_supervised() -> bool:
    return _main_pid is not None


def owner_prefix(host: str, main_pid: int) -> str:
    """Return what every owner of one supervisor's processes begins with."""
    return f"{host}:{main_pid}:"


def own_prefix() -> str:
    return owner_prefix(host_name(), main_pid())


def new_owner() -> str:
    return f"{own_prefix()}{os.getpid()}:{secrets.token_hex(4)}"

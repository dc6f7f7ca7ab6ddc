"""The embedded server as processes see it: real starts, real kills."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from glisk.database.embedded_postgres import EmbeddedPostgresError, Layout, ensure_running, stop

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
# Starts the server, says so, and lives until its standard input is closed.
USER = """
import sys
from pathlib import Path
from glisk.database.embedded_postgres import ensure_running
print(ensure_running(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of our own: pytest takes others' access to its folders away at every start."""
    with tempfile.TemporaryDirectory(prefix="glisk-test-") as name:
        yield Path(name).resolve()


@pytest.fixture
def directory(folder: Path) -> Iterator[Path]:
    place = folder / "database"
    yield place
    stop(place)


def start_user(directory: Path, program: str = USER) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def started(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    url = user.stdout.readline().strip()
    assert url.startswith("postgresql://"), "the user process did not start"
    return url


def end(user: subprocess.Popen[str]) -> None:
    """End a user; nothing that it started may hold its pipes open."""
    _, errors = user.communicate(timeout=60)
    assert errors == ""
    assert user.returncode == 0


def server_pid(directory: Path) -> int:
    server = Layout(directory.resolve()).postmaster()
    assert server is not None
    return int(server.pid)


def watchdog_pid(directory: Path) -> int:
    """Return the watchdog's pid, 0 while it writes it."""
    return int(Layout(directory.resolve()).watchdog_lock.read_text().split("\n")[0] or 0)


def is_dead(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool]) -> float:
    """Return how long it took; fail after a minute."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < 60, "waited too long"
        time.sleep(0.01)
    return time.monotonic() - begin


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=30) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def setting(url: str, name: str) -> object:
    with psycopg.connect(url) as connection:
        (value,) = connection.execute("SELECT current_setting(%s)", (name,)).fetchone() or (None,)
        return value


def test_settings_fit_and_nobody_is_root_or_sees_a_secret_of_its_caller(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPER_PRIVATE_KEY", "11" * 32)
    url = ensure_running(directory)
    assert setting(url, "max_connections") == "200"
    assert setting(url, "TimeZone") == "UTC"
    assert setting(url, "server_encoding") == "UTF8"
    assert setting(url, "listen_addresses") == ""
    sockets = Path(str(conninfo_to_dict(url)["host"]))  # for its own user only
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE((sockets / ".s.PGSQL.5432").stat().st_mode) == 0o700
    for pid in (server_pid(directory), watchdog_pid(directory)):
        process = psutil.Process(pid)
        assert process.uids().effective != 0
        assert "KEEPER_PRIVATE_KEY" not in process.environ()


def test_processes_share_one_server_which_stops_with_the_last_and_not_before(
    directory: Path,
) -> None:
    *others, last = (start_user(directory) for _ in range(5))  # at once
    urls = {started(user) for user in (*others, last)}
    assert len(urls) == 1
    pid = server_pid(directory)
    for user in others:
        end(user)
    time.sleep(1.5)  # longer than the watchdog lingers
    assert server_pid(directory) == pid
    assert answers(urls.pop())
    end(last)
    wait_until(lambda: Layout(directory).postmaster() is None)
    wait_until(lambda: is_dead(watchdog_pid(directory)))


def test_a_user_that_comes_while_it_stops_gets_a_server(directory: Path) -> None:
    end_soon = start_user(directory)
    started(end_soon)
    end(end_soon)
    # About when the watchdog gives up waiting: whatever the order, the newcomer is served.
    for wait in (0.95, 1.05):
        time.sleep(wait)
        user = start_user(directory)
        assert answers(started(user))
        end(user)


def test_a_killed_server_is_back_with_its_data(directory: Path) -> None:
    url = ensure_running(directory)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    old = server_pid(directory)
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: is_dead(old))
    assert ensure_running(directory) == url
    wait_until(lambda: answers(url))
    assert server_pid(directory) != old
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


@pytest.mark.parametrize("server_too", [False, True])
def test_a_killed_watchdog_is_replaced_and_the_data_kept(directory: Path, server_too: bool) -> None:
    url = ensure_running(directory)
    with psycopg.connect(url, autocommit=True) as connection:  # outlives the server for a moment
        connection.execute("CREATE TABLE kept (n int)")
        killed, server = watchdog_pid(directory), server_pid(directory)
        os.kill(killed, signal.SIGKILL)
        if server_too:
            os.kill(server, signal.SIGKILL)
        wait_until(lambda: is_dead(killed) and is_dead(server) == server_too)
        assert answers(url) != server_too  # the server itself goes on
        # Its lock may outlive it for a moment: then the next call replaces it.
        wait_until(
            lambda: ensure_running(directory) == url and watchdog_pid(directory) not in (0, killed)
        )
    wait_until(lambda: answers(url))
    with psycopg.connect(url) as connection:
        connection.execute("SELECT n FROM kept")


def test_a_stale_pid_file_that_names_another_process_is_no_hindrance(directory: Path) -> None:
    ensure_running(directory)
    stop(directory)
    layout = Layout(directory.resolve())
    # PostgreSQL takes any process of its own user for the server that the file names.
    user, group = layout.server_user() if os.geteuid() == 0 else (None, None)
    bystander = subprocess.Popen(["sleep", "60"], user=user, group=group)
    try:
        (layout.cluster / "postmaster.pid").write_text(f"{bystander.pid}\n{layout.cluster}\n")
        assert answers(ensure_running(directory))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_it_stays_while_a_forked_child_outlives_its_parent(directory: Path) -> None:
    program = USER.replace(
        "sys.stdin.read()", "import os\nif os.fork(): os._exit(0)\nsys.stdin.read()"
    )
    user = start_user(directory, program)
    url = started(user)
    user.wait(10)
    time.sleep(1.5)
    assert answers(url)
    end(user)
    wait_until(lambda: Layout(directory).postmaster() is None)


def test_a_directory_that_no_socket_can_be_named_in_works(folder: Path) -> None:
    place = folder / "with, space, it's 100%20, größe" / ("d" * 100)
    try:
        assert answers(ensure_running(place))
    finally:
        stop(place)


def test_stop_ends_everything_and_a_start_that_fails_says_why(directory: Path) -> None:
    url = ensure_running(directory)
    watchdog = watchdog_pid(directory)
    stop(directory)
    wait_until(lambda: is_dead(watchdog))
    assert not answers(url)
    stop(directory)  # may be repeated
    (directory / "cluster" / "PG_VERSION").write_text("9.1\n")
    with pytest.raises(EmbeddedPostgresError) as failure:
        ensure_running(directory)
    message = str(failure.value)
    assert "PostgreSQL version 9.1" in message
    assert "DATABASE_URL" in message

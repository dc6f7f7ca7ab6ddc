"""A table of jobs, and real qclusters that work on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.db import connection, connections

from glisk.engine.broker import notify
from glisk.engine.drain import Drain, run_drain
from glisk.engine.process import Flag
from glisk.tests.database import database_url
from glisk.tests.engine.world import jobs
from glisk.tests.waiting import eventually

# Far longer than anything takes: it costs time only where a test fails.
PATIENCE_SECONDS = 60.0


def query(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def add_jobs(count: int, *, seconds: float = 0.0, stage: str = "alpha") -> None:
    """Insert jobs and wake their drain, in one transaction, as the program does."""
    from django.db import transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {jobs.TABLE} (stage, seconds) SELECT %s, %s FROM generate_series(1, %s)",
            [stage, seconds, count],
        )
        notify(f"engine_{stage}")


def done() -> int:
    return int(query(f"SELECT count(*) FROM {jobs.TABLE} WHERE done_at IS NOT NULL")[0][0])


def claimed() -> int:
    return int(query(f"SELECT count(*) FROM {jobs.TABLE} WHERE claims > 0")[0][0])


def drains(stage: str = "alpha") -> list[int]:
    """Return the processes of the drains of a stage that say they live."""
    return [pid for (pid,) in query("SELECT pid FROM worker_heartbeats WHERE stage = %s", stage)]


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def children(pid: int) -> list[int]:
    """Return the children of a process in the order in which it forked them."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [int(child) for child in found]  # not sorted: process ids begin anew at some time


class Run:
    """A drain in a thread of its own, with a stop flag of its own."""

    def __init__(self, drain_class: type[Drain]) -> None:
        self.stop_flag = Flag()
        self.outcome: int | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(drain_class,))
        self.thread.start()

    def _run(self, drain_class: type[Drain]) -> None:
        try:
            self.outcome = run_drain(drain_class, self.stop_flag)
        except Exception as error:  # noqa: BLE001 - the test judges it
            self.error = error
        finally:
            connections.close_all()

    def join(self) -> Run:
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()
        return self

    def stop(self) -> Run:
        self.stop_flag.set()
        return self.join()


@pytest.fixture
def run() -> Iterator[Callable[[type[Drain]], Run]]:
    runs: list[Run] = []

    def start(drain_class: type[Drain]) -> Run:
        runs.append(Run(drain_class))
        return runs[-1]

    yield start
    for each in runs:
        each.stop()
        each.stop_flag.close()


Start = Callable[[type[Drain]], Run]


class QCluster:
    """A `manage.py qcluster` of the test world, in a process group of its own."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster"],
                cwd=settings.BASE_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._seen: set[int] = {self.process.pid}

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def pid(self) -> int:
        return self.process.pid

    def tree(self) -> dict[str, Any]:
        """Return the pids by role, once all processes are there."""

        def complete() -> list[int] | None:
            sentinels = [pid for pid in children(self.pid) if is_running(pid)]
            forked = children(sentinels[0]) if sentinels else []
            self._seen |= {*sentinels, *forked}
            return [*sentinels, *forked] if len(forked) == 7 else None

        sentinel, *forked = eventually(complete, what="a whole tree")
        roles = {"main": self.pid, "sentinel": sentinel, "workers": forked[:5]}
        return {**roles, "monitor": forked[5], "pusher": forked[6]}

    def ready(self) -> QCluster:
        """Wait until both drains of this cluster run."""
        eventually(
            lambda: (
                {"alpha", "beta"}
                <= {
                    stage
                    for (stage,) in query(
                        "SELECT stage FROM worker_heartbeats WHERE main_pid = %s", self.pid
                    )
                }
            ),
            what="the drains of a new qcluster",
        )
        self.tree()
        return self

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> int:
        self.signal()
        return self.wait()

    def leftovers(self) -> list[int]:
        return [pid for pid in self._seen if is_running(pid)]

    def destroy(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in self.leftovers():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def world(transactional_db: None) -> Iterator[None]:
    """Make the table of jobs; each test has its own."""
    with connection.cursor() as cursor:
        cursor.execute(jobs.CREATE)
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {jobs.TABLE}")


@pytest.fixture
def qcluster(world: None, tmp_path: Path) -> Iterator[Callable[..., QCluster]]:
    """Start qclusters; variables of the environment may be given as keywords."""
    started: list[QCluster] = []

    def start(**variables: str) -> QCluster:
        environment = {
            **os.environ,
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "glisk.tests.engine.world.settings",
            **variables,
        }
        cluster = QCluster(tmp_path / f"qcluster-{len(started)}.log", environment)
        started.append(cluster)
        return cluster

    yield start
    for cluster in started:
        cluster.destroy()
        sys.stdout.write(cluster.log)

"""Jobs: rows that wait to be called for once, and the drains that do it."""

import os
import time
from pathlib import Path

from django.conf import settings
from django.db import connection

from glisk.engine.drain import Drain, run_drain
from glisk.engine.step import CallResult

TABLE = "engine_jobs"
CREATE = f"""
    DROP TABLE IF EXISTS {TABLE};
    CREATE TABLE {TABLE} (
        id serial PRIMARY KEY, stage text NOT NULL, seconds float NOT NULL,
        owner text, lease_expires_at timestamptz, claims int NOT NULL DEFAULT 0,
        calls int NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        claimed_at timestamptz, done_at timestamptz, done_by text
    )
"""
LEASE_SECONDS = 3600  # no test lasts so long: whoever gets a job got it by a release


def _execute(sql: str, parameters: tuple[str, ...] = ()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def release_of(prefix: str) -> int:
    return _execute(
        f"UPDATE {TABLE} SET owner = NULL, lease_expires_at = NULL "
        "WHERE done_at IS NULL AND starts_with(owner, %s)",
        (prefix,),
    )


def rescue() -> int:
    return _execute(
        f"UPDATE {TABLE} SET owner = NULL, lease_expires_at = NULL "
        "WHERE done_at IS NULL AND lease_expires_at < now()"
    )


class JobDrain(Drain):
    """Claims jobs of its stage; a call takes the job's own time and returns its process."""

    @property
    def threads(self) -> int:
        return 8

    def turn(self, results: list[CallResult]) -> float | None:
        for result in results:
            if result.error is not None:
                raise result.error
            _execute(
                f"UPDATE {TABLE} SET done_at = clock_timestamp(), done_by = %s, calls = calls + 1 "
                "WHERE id = %s AND owner = %s",
                (f"{result.value}", result.key, self.owner),
            )
        if not self.stopping:
            self._claim(self.threads - self.in_flight)
        return None

    def _claim(self, free: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                UPDATE {TABLE} SET owner = %s, claims = claims + 1, claimed_at = clock_timestamp(),
                    lease_expires_at = now() + make_interval(secs => {LEASE_SECONDS})
                WHERE id IN (SELECT id FROM {TABLE} WHERE stage = %s AND owner IS NULL
                             AND done_at IS NULL ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
                RETURNING id, seconds
                """,
                (self.owner, self.stage, free),
            )
            rows = cursor.fetchall()
        for job, seconds in rows:
            self.submit("call", job, _call, seconds, self._stop_file)

    @property
    def _stop_file(self) -> Path | None:
        folder = str(settings.STOP_FILES)  # type: ignore[misc]  # the world's own setting
        return Path(folder) / self.stage if folder else None

    def release(self) -> None:
        """Tell the calls under way that this drain is ending; no other jobs are claimed."""
        if self._stop_file:
            self._stop_file.touch()


def _call(seconds: float, stop_file: Path | None) -> int:
    """Take so long, or until the drain is ending."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not (stop_file and stop_file.exists()):
        time.sleep(min(left, 0.05) if stop_file else left)
    return os.getpid()


class AlphaDrain(JobDrain):
    stage = "alpha"
    task = "glisk.tests.engine.world.jobs.run_alpha"
    channels = ("engine_alpha",)


class BetaDrain(JobDrain):
    stage = "beta"
    task = "glisk.tests.engine.world.jobs.run_beta"
    channels = ("engine_beta",)


class GammaDrain(JobDrain):
    """Each worker has one, if it is switched on there."""

    stage = "gamma"
    task = "glisk.tests.engine.world.jobs.run_gamma"
    channels = ("engine_gamma",)
    one_per_worker = True


def run_alpha() -> int | None:
    return run_drain(AlphaDrain)


def run_beta() -> int | None:
    return run_drain(BetaDrain)


def run_gamma() -> int | None:
    return run_drain(GammaDrain)

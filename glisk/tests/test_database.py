"""Connections as each kind of process has them, and migrations by one process at a time."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from glisk.database import database_settings
from glisk.management.commands.migrate import _LOCK
from glisk.tests.tcp_postgres import tcp_postgres

ROOT = Path(__file__).resolve().parents[2]
URL = "postgres://user:p%40ss@db.example:6543/name"


def test_web_processes_have_a_pool_and_workers_do_not() -> None:
    web = database_settings(url=URL, embedded_dir=Path("unused"), pool_size=7)
    worker = database_settings(url=URL, embedded_dir=Path("unused"), pool_size=None)
    assert web["OPTIONS"]["pool"]["max_size"] == 7
    assert web["CONN_MAX_AGE"] == 0  # Django refuses a pool with any other
    assert "pool" not in worker["OPTIONS"]
    assert worker["CONN_MAX_AGE"] is None
    assert worker["CONN_HEALTH_CHECKS"]
    once = "plan_cache_mode=force_generic_plan"  # of what deliveries prepare
    assert once in web["OPTIONS"]["options"]
    assert once not in worker["OPTIONS"]["options"]


def test_options_of_the_url_stay_beside_our_time_limits() -> None:
    url = f"{URL}?sslmode=require&options=-c%20jit%3Doff"
    options = database_settings(url=url, embedded_dir=Path("x"), pool_size=None)["OPTIONS"]
    assert options["sslmode"] == "require"
    assert options["options"].startswith("-c jit=off -c statement_timeout=")


@pytest.mark.django_db
def test_sessions_have_time_limits() -> None:
    for name, value in {
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "1min",
        "TimeZone": "UTC",
    }.items():
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting(%s)", [name])
            assert cursor.fetchone() == (value,)


@pytest.mark.process
def test_a_session_over_tcp_ends_soon_after_its_machine_is_gone() -> None:
    """The server sees to it, since the machine cannot; by a socket nothing can be lost so."""
    with tcp_postgres() as (by_tcp, by_socket):
        given = {}
        for url in (by_tcp, by_socket):
            options = database_settings(url=url, embedded_dir=Path("x"), pool_size=None)["OPTIONS"]
            with psycopg.connect(url, options=options["options"]) as session:
                names = ("idle", "interval", "count")
                shown = [session.execute(f"SHOW tcp_keepalives_{name}") for name in names]
                given[url] = [int(value) for cursor in shown for (value,) in cursor.fetchall()]
                user_timeout = session.execute("SHOW tcp_user_timeout").fetchone()
                assert user_timeout == ("30000" if url == by_tcp else "0",)
        idle, interval, count = given[by_tcp]
        assert idle + interval * count <= 30
        assert given[by_socket] == [0, 0, 0]


@pytest.mark.process
def test_migrates_at_once_wait_and_apply_each_migration_once(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        runs = [
            subprocess.Popen(
                [sys.executable, "manage.py", "migrate", "contenttypes"],
                cwd=ROOT,
                env={
                    **os.environ,
                    "DATABASE_URL": empty_database,
                    "DJANGO_SETTINGS_MODULE": "glisk.settings",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for run in runs:
            assert run.stderr is not None
            assert "waiting" in run.stderr.readline()
    output = [run.communicate(timeout=100) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], output
    assert "".join(out for out, _ in output).count("Applying contenttypes.0001") == 1

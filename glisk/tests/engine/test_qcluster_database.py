"""What the database does to the workers, and they to each other through it."""

import time
from collections.abc import Callable

from glisk.tests.engine.conftest import QCluster, add_jobs, claimed, done, drains, eventually, query

Start = Callable[..., QCluster]


def _terminate_other_sessions() -> int:
    return len(
        query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
    )


def test_results_outlive_all_database_sessions(qcluster: Start) -> None:
    cluster = qcluster().ready()
    add_jobs(8, seconds=1.0)
    eventually(lambda: claimed() == 8, what="claims")
    tree = cluster.tree()

    assert _terminate_other_sessions() >= 4

    eventually(lambda: done() == 8, what="the results that were under way")
    assert query("SELECT max(claims), max(calls) FROM engine_jobs") == [(1, 1)]
    assert cluster.tree() == tree  # no process died of it
    add_jobs(1)
    eventually(lambda: done() == 9, what="new work")
    assert cluster.stop() == 0


def test_a_commit_wakes_the_drain_at_once(qcluster: Start) -> None:
    cluster = qcluster(TEST_POLL_INTERVAL_SECONDS="3600").ready()
    for _ in range(20):
        add_jobs(1)
        time.sleep(0.02)
    eventually(lambda: done() == 20, what="all jobs")
    ((median,),) = query(
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY "
        "extract(epoch FROM claimed_at - created_at)) FROM engine_jobs"
    )
    assert median < 0.5  # far below the tick of 5 s; 1 to 3 ms on an idle machine
    assert cluster.stop() == 0


def test_two_clusters_share_one_database(qcluster: Start) -> None:
    first = qcluster().ready()
    second = qcluster()
    eventually(
        lambda: query("SELECT 1 FROM worker_heartbeats WHERE main_pid = %s", second.pid),
        what="the second supervisor",
    )
    second.tree()
    add_jobs(100, seconds=0.05)
    eventually(lambda: done() == 100, what="all jobs")
    time.sleep(1.2)  # both have run the schedules by now
    assert query("SELECT max(claims), count(DISTINCT owner) FROM engine_jobs") == [(1, 1)]
    assert [len(drains("alpha")), len(drains("beta"))] == [1, 1]

    assert first.stop() == 0
    add_jobs(1)
    eventually(lambda: done() == 101, what="a job for the cluster that stays")
    assert second.stop() == 0
    assert first.log + second.log == ""  # nothing to warn of, such as a connection lost by a fork


def test_a_drain_hands_over_without_a_gap(qcluster: Start) -> None:
    # No schedule could start the next one.
    cluster = qcluster(TEST_DRAIN_BUDGET_SECONDS="1", TEST_POLL_INTERVAL_SECONDS="3600").ready()
    added = 0

    def four_drains_have_claimed() -> bool:
        nonlocal added
        add_jobs(1, seconds=0.3)
        added += 1
        time.sleep(0.05)
        return int(query("SELECT count(DISTINCT owner) FROM engine_jobs")[0][0]) >= 4

    eventually(four_drains_have_claimed, what="a fourth drain")
    eventually(lambda: done() == added, what="all jobs")
    ((longest_wait,),) = query(
        "SELECT max(extract(epoch FROM claimed_at - created_at)) FROM engine_jobs"
    )
    assert longest_wait < 3  # well below the tick of 5 s
    assert query("SELECT max(claims), max(calls) FROM engine_jobs") == [(1, 1)]
    assert cluster.stop() == 0


def test_a_worker_waits_for_the_tables_and_says_so_once(qcluster: Start) -> None:
    ((app, name),) = query(
        "DELETE FROM django_migrations WHERE id = (SELECT max(id) FROM django_migrations "
        "WHERE app = 'tokens') RETURNING app, name"
    )
    try:
        cluster = qcluster()
        eventually(lambda: "waiting_for_migrations" in cluster.log, what="the message")
        add_jobs(1)
        time.sleep(1.2)  # two more looks
        assert query("SELECT count(*) FROM worker_heartbeats") == [(0,)]
        assert claimed() == 0
    finally:
        query(
            "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, now()) RETURNING 1",
            app,
            name,
        )

    cluster.ready()
    eventually(lambda: done() == 1, what="the job")
    (message,) = cluster.log.splitlines()
    assert f"{app}.{name}" in message
    assert "manage.py migrate" in message
    assert cluster.stop() == 0

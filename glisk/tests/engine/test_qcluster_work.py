"""What the database and the clock do to the workers, and the workers to each other."""

import time
from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from glisk.engine.broker import enqueue_here, forget_lost_queues, notify, own_queue
from glisk.tests.engine.conftest import (
    QCluster,
    add_jobs,
    claimed,
    done,
    drains,
    is_running,
    query,
)
from glisk.tests.waiting import eventually

Start = Callable[..., QCluster]


def _terminate_other_sessions() -> int:
    return len(
        query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
    )


def test_a_commit_wakes_the_drain_and_results_outlive_all_sessions(qcluster: Start) -> None:
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

    add_jobs(8, seconds=1.0)
    eventually(lambda: claimed() == 28, what="claims")
    tree = cluster.tree()
    assert _terminate_other_sessions() >= 4
    eventually(lambda: done() == 28, what="the results that were under way")
    assert query("SELECT max(claims), max(calls) FROM engine_jobs") == [(1, 1)]
    assert cluster.tree() == tree  # no process died of it
    add_jobs(1)
    eventually(lambda: done() == 29, what="new work")
    assert cluster.stop() == 0


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


def _gammas() -> set[int]:
    """Return the supervisors that have a drain of the stage that each worker has."""
    found = query("SELECT DISTINCT main_pid FROM worker_heartbeats WHERE stage = 'gamma'")
    return {pid for (pid,) in found}


def test_workers_share_a_database_each_with_its_own_drain_where_it_is_on(qcluster: Start) -> None:
    off = qcluster().ready()
    first, second = qcluster(TEST_DO_GAMMA="1"), qcluster(TEST_DO_GAMMA="1")
    eventually(lambda: _gammas() == {first.pid, second.pid}, what="a drain of each that does it")
    add_jobs(40, seconds=0.2, stage="gamma")
    eventually(lambda: done() == 40, what="all jobs")
    owners = "SELECT DISTINCT split_part(owner, ':', 2)::int FROM engine_jobs"
    assert {pid for (pid,) in query(owners)} == {first.pid, second.pid}

    query("DELETE FROM engine_jobs RETURNING 1")
    add_jobs(50, seconds=0.05)  # of a stage that has one drain in all
    eventually(lambda: done() == 50, what="all jobs")
    assert query("SELECT max(claims), count(DISTINCT owner) FROM engine_jobs") == [(1, 1)]
    assert [len(drains("alpha")), len(drains("beta"))] == [1, 1]
    assert off.log + second.log == ""  # nothing to warn of, such as a connection lost by a fork

    first.signal(9)
    first.wait()
    eventually(lambda: not first.leftovers(), what="the end of its processes")
    third = qcluster(TEST_DO_GAMMA="1")
    eventually(lambda: _gammas() == {second.pid, third.pid}, what="the dead one's place taken")
    assert off.stop() == 0
    add_jobs(1)
    eventually(lambda: done() == 51, what="a job for the workers that stay")
    for cluster in (second, third):
        assert cluster.stop() == 0
        assert not is_running(cluster.pid)
    assert set(OrmQ.objects.values_list("key", flat=True)) <= {"glisk"}


def test_what_waits_in_the_queue_of_a_lost_machine_is_deleted_one_day(world: None) -> None:
    enqueue_here("a.b")
    enqueue_here("a.b")
    assert forget_lost_queues() == 0
    row = OrmQ.objects.filter(key=own_queue()).order_by("pk")[0]
    query_ = "UPDATE django_q_ormq SET lock = lock - interval '2 days' WHERE id = %s RETURNING id"
    query(query_, row.pk)
    assert forget_lost_queues() == 1
    assert OrmQ.objects.filter(key=own_queue()).count() == 1


def _rename(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_schedule_starts_a_missing_drain_though_others_are_broken(qcluster: Start) -> None:
    cluster = qcluster().ready()
    past = timezone.now() - timedelta(minutes=1)
    for args in ("[", "x"):
        Schedule.objects.create(
            name="broken", func="a.b", schedule_type="I", args=args, next_run=past
        )
    Schedule.objects.create(name="cron", func="a.b", next_run=past)
    Schedule.objects.filter(name="cron").update(schedule_type="C", cron="nonsense")
    Schedule.objects.filter(name="glisk:alpha").update(args="[", next_run=past)

    eventually(lambda: Schedule.objects.filter(repeats=0).count() == 3, what="three disabled")
    eventually(
        lambda: Schedule.objects.get(name="glisk:alpha").next_run > past, what="our schedule"
    )
    assert Schedule.objects.get(name="glisk:alpha").args is None

    _rename("engine_jobs", "engine_jobs_away")
    notify("engine_alpha")
    # A fault in turn() ends the drain; its worker lives on, and nobody is asked to succeed it.
    eventually(lambda: drains("alpha") == [], what="the drain's end")
    _rename("engine_jobs_away", "engine_jobs")
    eventually(lambda: drains("alpha"), what="a drain started by the schedule")
    assert cluster.stop() == 0

"""Several qclusters on one database: each has its own drain, where its stage is switched on."""

from collections.abc import Callable

from django_q.models import OrmQ

from glisk.engine.broker import enqueue_here, forget_lost_queues, own_queue
from glisk.tests.engine.conftest import QCluster, add_jobs, done, eventually, is_running, query

Start = Callable[..., QCluster]


def gammas() -> set[int]:
    """Return the supervisors that have a drain of the stage that each worker has."""
    return {
        pid
        for (pid,) in query("SELECT DISTINCT main_pid FROM worker_heartbeats WHERE stage = 'gamma'")
    }


def test_each_worker_has_its_own_drain_but_where_it_is_switched_off(qcluster: Start) -> None:
    off = qcluster().ready()
    first, second = qcluster(TEST_DO_GAMMA="1"), qcluster(TEST_DO_GAMMA="1")
    eventually(lambda: gammas() == {first.pid, second.pid}, what="a drain of each that does it")
    add_jobs(40, seconds=0.2, stage="gamma")
    eventually(lambda: done() == 40, what="all jobs")
    owners = "SELECT DISTINCT split_part(owner, ':', 2)::int FROM engine_jobs"
    assert {pid for (pid,) in query(owners)} == {first.pid, second.pid}

    first.signal(9)
    first.wait()
    eventually(lambda: not first.leftovers(), what="the end of its processes")
    third = qcluster(TEST_DO_GAMMA="1")
    eventually(lambda: gammas() == {second.pid, third.pid}, what="the place of the dead one taken")
    for cluster in (off, second, third):
        assert cluster.stop() == 0
        assert not is_running(cluster.pid)
    queues = set(OrmQ.objects.values_list("key", flat=True))
    assert queues <= {"glisk"}


def test_what_waits_in_the_queue_of_a_lost_machine_is_deleted_one_day(world: None) -> None:
    enqueue_here("a.b")
    enqueue_here("a.b")
    assert forget_lost_queues() == 0
    row = OrmQ.objects.filter(key=own_queue()).order_by("pk")[0]
    query_ = "UPDATE django_q_ormq SET lock = lock - interval '2 days' WHERE id = %s RETURNING id"
    query(query_, row.pk)
    assert forget_lost_queues() == 1
    assert OrmQ.objects.filter(key=own_queue()).count() == 1

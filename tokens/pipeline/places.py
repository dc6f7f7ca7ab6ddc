"""The places of all workers for predictions under way, counted in the rows of their jobs.

WORKER_BATCH_SIZE is the places of one worker; more workers are more places. A drain that hands
over, or a worker that died, leaves its predictions under way, so they are counted where they stand.
"""

from __future__ import annotations

from zlib import crc32

from django.conf import settings
from django.db import connection

from glisk.engine.heartbeat import ALIVE_SECONDS
from tokens.models.job import JobService

_LOCK = crc32(b"glisk:places")
# A prediction that takes longer counts as lost, and a call whose answer is lost takes no place.
_UNDER_WAY = """
    SELECT count(*) FROM image_generation_jobs j JOIN tokens_s0 t USING (token_id)
    WHERE j.service = %s AND t.status = 'generating' AND j.status IN ('created', 'submitted')
      AND j.created_at > now() - make_interval(
          secs => CASE j.status WHEN 'created' THEN %s ELSE %s END)
"""
_MORE_THAN_A_CALL_SECONDS = 10
# How many workers live that make images; the parameter is ALIVE_SECONDS.
WORKERS = """
    SELECT count(DISTINCT (host, main_pid)) FROM worker_heartbeats
    WHERE stage IN ('pipeline', 'generation')
      AND beat_at > now() - make_interval(secs => %s)
"""


def places_of(workers: int) -> int:
    """Return how many images so many workers make at once; one that asks is one."""
    return max(1, workers) * int(settings.WORKER_BATCH_SIZE)


def free_places(service: JobService, *, most: int | None) -> int:
    """Return how many calls of a service may begin; until the transaction ends, nobody else asks.

    `most` is how many the service makes at once; None: as many as the workers have places.
    """
    longest = call_seconds = settings.GENERATION_TIMEOUT_SECONDS
    if service == JobService.REPLICATE:  # which answers a call before the image is made
        call_seconds = settings.HTTP_READ_TIMEOUT_SECONDS + _MORE_THAN_A_CALL_SECONDS
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute(
            f"SELECT ({_UNDER_WAY}), ({WORKERS})",
            [service, call_seconds, longest, ALIVE_SECONDS],
        )
        under_way, workers = cursor.fetchone()
    return (places_of(workers) if most is None else most) - int(under_way)

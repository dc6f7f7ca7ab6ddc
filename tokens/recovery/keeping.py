"""Keep the database equal to the chain by itself: what the schedules run.

A look every few seconds, a thorough one every few minutes. One of each at a time, whatever the
number of machines; while the node is down nothing happens but a log line, and the next look
begins where the last one ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import structlog
from django.db import connection
from django_q.tasks import async_task

from glisk.breaker import Breaker
from glisk.clients.mint_reader import MintReader
from glisk.errors import ProviderError
from tokens.mint_log import BATCH_MINTED_TOPIC
from tokens.recovery.drift import check_drift
from tokens.recovery.gaps import count_below, fill_gaps
from tokens.recovery.scan import ScanReport, scan_chain

logger = structlog.get_logger(__name__)

_LOCK = crc32(b"glisk:recovery")


def look_at_chain() -> int:
    """Read new mints; return how many tokens they brought. Cheap when there are none."""
    with _alone() as alone:
        if not alone:
            return 0
        reader = MintReader.from_settings(topic=BATCH_MINTED_TOPIC)
        breaker = Breaker("rpc")
        if not breaker.places(1):
            return 0
        try:
            report = scan_chain(reader)
            created = report.mints.created
            if _is_incomplete(report):
                created += fill_gaps(reader).from_logs
        except ProviderError as error:
            logger.warning("chain_unread", error=str(error))
            breaker.failed(error)
            return 0
        breaker.succeeded()
        return created


def prove_completeness() -> int:
    """Fill gaps, prove the tiling, compare with the contract; return how much was mended."""
    with _alone() as alone:
        if not alone:
            return 0
        reader = MintReader.from_settings(topic=BATCH_MINTED_TOPIC)
        try:
            gaps = fill_gaps(reader)
            drift = check_drift(reader, repair=True)
        except ProviderError as error:
            logger.warning("chain_unread", error=str(error))
            return 0
        return gaps.from_logs + len(gaps.from_facts) + sum(f.repaired for f in drift.findings)


def look_soon() -> None:
    """Have the chain looked at now, e.g. because a webhook told of a reorg."""
    async_task("tokens.tasks.look_at_chain")


def _is_incomplete(report: ScanReport) -> bool:
    if report.lagging or report.reorgs.suspected:
        return False
    return count_below(report.next_token_id) < report.next_token_id - 1


@contextmanager
def _alone() -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        held = bool(cursor.fetchone()[0])
    try:
        yield held
    finally:
        if held:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])

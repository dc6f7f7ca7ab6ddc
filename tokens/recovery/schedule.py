"""Keep the database equal to the chain by itself: what the schedules run.

A look every few seconds, a thorough one every few minutes. One at a time, whatever the number of
machines; while the node is down nothing happens but a log line, and the next look begins where
the last one ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from zlib import crc32

import structlog
from django.conf import settings
from django.db import Error, connection
from django_q.tasks import async_task

from glisk.breaker import Breaker
from glisk.clients.chain import ChainClient
from glisk.errors import ProviderError
from glisk.timing import timing
from tokens.recovery.drift import check_drift
from tokens.recovery.proof import prove
from tokens.recovery.scan import scan_chain

logger = structlog.get_logger(__name__)

Task = Callable[[], int]

_LOCK = crc32(b"glisk:recovery")
_COMPARISON_LOCK = crc32(b"glisk:comparison")

_nudged_at = -timing.nudge


def _alone(lock: int, *, wait_seconds: float = 0) -> Callable[[Callable[[ChainClient], int]], Task]:
    """Make a task of work that a lock keeps to one at a time, and that asks the chain.

    It returns 0 if somebody else is at it, or the node fails or is to be spared.
    """

    def make(work: Callable[[ChainClient], int]) -> Task:
        @wraps(work)
        def task() -> int:
            with _held(lock, wait_seconds=wait_seconds) as is_held:
                breaker = Breaker("rpc")
                if not is_held or not breaker.places(1):
                    return 0
                try:
                    done = work(_kept_reader(settings.RPC_URL, settings.GLISK_NFT_CONTRACT_ADDRESS))
                except ProviderError as error:
                    # An open breaker has said why, once; these are its tries.
                    tell = logger.info if breaker.is_open else logger.warning
                    tell("chain_unread", error=str(error))
                    breaker.failed(error)
                    return 0
                breaker.succeeded()
                return done

        return task

    return make


@_alone(_LOCK, wait_seconds=0.5)  # the next piece begins while this one ends
def look_at_chain(reader: ChainClient) -> int:
    """Read what is new on the chain; return how many tokens it brought. Cheap without news."""
    report = scan_chain(reader, budget_seconds=timing.look_budget)
    if report.ended_early:
        look_soon()
    return report.created


@_alone(_LOCK, wait_seconds=20.0)  # a look begins in the same second
def prove_completeness(reader: ChainClient) -> int:
    """Look, fill gaps, prove the tiling, compare with the contract; return how much was mended."""
    return prove(reader, budget_seconds=timing.look_budget)


@_alone(_COMPARISON_LOCK)  # it takes minutes for many tokens, for which no look waits
def compare_everything(reader: ChainClient) -> int:
    """Compare tokens with the contract, newest first; return how many differ. Changes no token."""
    return check_drift(reader, repair=False, budget_seconds=timing.comparison_budget).unrepaired


def look_soon() -> None:
    """Have the chain looked at now, once a second at most: a webhook told of a reorg, say."""
    global _nudged_at
    now = time.monotonic()
    if now - _nudged_at >= timing.nudge:
        _nudged_at = now
        async_task("tokens.tasks.look_at_chain")


@lru_cache(maxsize=1)
def _kept_reader(url: str, contract_address: str) -> ChainClient:
    """Return this process's reader of a node: its connection is kept open."""
    return ChainClient.from_settings()


@contextmanager
def _held(lock: int, *, wait_seconds: float) -> Iterator[bool]:
    deadline = time.monotonic() + wait_seconds
    while not (held := _call("pg_try_advisory_lock", lock)) and time.monotonic() < deadline:
        time.sleep(0.25)
    try:
        yield held
    finally:
        if held:
            try:
                _call("pg_advisory_unlock", lock)
            except Error as error:  # the lock went with the connection
                logger.warning("recovery_lock_lost", error=str(error).strip())


def _call(function: str, lock: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [lock])
        return bool(cursor.fetchone()[0])

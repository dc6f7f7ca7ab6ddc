"""Walk a range of blocks in steps that the provider accepts.

A step shrinks to what the provider suggests, or by half, when it refuses, and doubles on success.
A rule of the plan ("up to a 10 block range") is never exceeded again in this walk; a refusal for
the size of one answer is tried again after some successes, since other blocks hold fewer logs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import structlog

from glisk.clients.log_ranges import RangeTooWideError
from glisk.clients.mint_reader import MintReader, RawLog

logger = structlog.get_logger(__name__)

FIRST_RANGE_BLOCKS = 2_000
LARGEST_RANGE_BLOCKS = 50_000
# So close to the head, a node behind a load balancer may not have the block yet.
NEAR_HEAD_BLOCKS = 32
_SUCCESSES_BEFORE_RETRY = 8


class RangeWalker:
    """`blocks` is the size of the next step."""

    def __init__(
        self,
        reader: MintReader,
        *,
        head: int,
        blocks: int | None = None,
        until: float | None = None,
    ) -> None:
        """`until`: no step begins after this moment of the monotonic clock."""
        self.blocks = max(1, blocks or FIRST_RANGE_BLOCKS)
        self.ended_early = False
        self._reader = reader
        self._head = head
        self._until = until
        self._rule = LARGEST_RANGE_BLOCKS
        self._refused = LARGEST_RANGE_BLOCKS + 1
        self._successes = 0

    def walk(self, first: int, last: int) -> Iterator[tuple[int, int, list[RawLog]]]:
        """Yield (from, to, raw logs) until `last` is reached, both ends included.

        Raises `RangeTooWideError` if not even one block is given, and the errors of the reader.
        """
        start = first
        while start <= last:
            if self._until is not None and time.monotonic() >= self._until:
                self.ended_early = True
                return
            end = min(last, start + self.blocks - 1)
            try:
                logs = self._reader.logs(
                    first=start, last=end, near_head=end > self._head - NEAR_HEAD_BLOCKS
                )
            except RangeTooWideError as error:
                self._shrink(error, end - start + 1)
                continue
            yield start, end, logs
            start = end + 1
            self._grow()

    def _shrink(self, error: RangeTooWideError, asked: int) -> None:
        if asked <= 1:
            raise error
        suggested = error.blocks if error.blocks is not None and error.blocks < asked else None
        self.blocks = suggested or asked // 2
        if suggested is not None and not error.by_size:
            self._rule = suggested
        self._refused, self._successes = asked, 0
        logger.info("log_range_reduced", blocks=self.blocks)

    def _grow(self) -> None:
        self._successes += 1
        doubled = min(2 * self.blocks, self._rule)
        if doubled < self._refused or self._successes >= _SUCCESSES_BEFORE_RETRY:
            self.blocks = doubled

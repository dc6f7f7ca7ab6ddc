"""Walk a range of blocks in steps that the provider accepts.

A step doubles on success. When it is refused it shrinks: to what the provider suggests; by half,
where one answer would hold too many logs; else, where the provider says nothing that helps or
nothing at all, to what it has answered before, or to a few blocks. What was refused is not asked
for again in this walk, unless it was for too many logs.

Parts of a long range can be proven to hold no mint, so that their logs need not be read:
`nextTokenId` at the end of a block says how many ids were given out until then, and where it is
the same at both ends, nobody minted in between. Where a provider gives ten blocks of logs at once,
a month of a quiet chain is 130,000 requests; halving it by `nextTokenId` takes a few dozen. It
needs a node that keeps old state; without one everything is read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import structlog

from glisk.clients.chain import ChainClient, RangeTooWideError, RawLog
from glisk.errors import ProviderError, is_account_or_rate

logger = structlog.get_logger(__name__)

FIRST_RANGE_BLOCKS = 2_000
LARGEST_RANGE_BLOCKS = 50_000
# So close to the head, a node behind a load balancer may not have the block yet.
NEAR_HEAD_BLOCKS = 32
# Few enough for every provider that is known; less than that is one block.
_FEW_BLOCKS = 8
# Worth asking which parts are quiet if so many requests for logs can be spared.
WORTH_REQUESTS = 64


class RangeWalker:
    """`blocks` is the size of the next step, `answered` that of the last whole one."""

    def __init__(
        self, reader: ChainClient, *, head: int, blocks: int | None = None, until: float = math.inf
    ) -> None:
        """`until`: no step begins after this moment of the monotonic clock."""
        self.blocks = max(1, blocks or FIRST_RANGE_BLOCKS)
        self.answered: int | None = None
        self.ended_early = False
        self._reader, self._head, self._until = reader, head, until
        self._most = LARGEST_RANGE_BLOCKS
        self._fault: RangeTooWideError | None = None  # since the last answer
        self._limited = False  # by a rule of the provider, whether it names it or not
        self._probed = False  # it is asked once which parts are quiet

    def walk(self, first: int, last: int) -> Iterator[tuple[int, int, list[RawLog]]]:
        """Yield (from, to, raw logs) until `last` is reached, both ends included.

        Parts that are proven to hold no mint come without logs and without a request. Raises
        `RangeTooWideError` if not even one block is given, or nothing within its time, and the
        errors of the reader.
        """
        start = first
        while start <= last and not self._is_late():
            worth_asking = last - start >= WORTH_REQUESTS * self.blocks
            if self._limited and not self._probed and worth_asking:
                yield from self._walk_busy(start, last)
                return
            end = min(last, start + self.blocks - 1)
            near_head = end > self._head - NEAR_HEAD_BLOCKS
            try:
                logs = self._reader.logs(first=start, last=end, near_head=near_head)
            except RangeTooWideError as error:
                self._shrink(error, end - start + 1)
                continue
            self._fault = None
            if end - start + 1 == self.blocks:  # a shorter one, at the end, proves nothing
                self.answered = self.blocks
                if 2 * self.blocks <= self._most:
                    self.blocks *= 2
            yield start, end, logs
            start = end + 1

    def _walk_busy(self, first: int, last: int) -> Iterator[tuple[int, int, list[RawLog]]]:
        """Walk a long range by small steps, without its quiet parts."""
        self._probed = True
        fresh = min(last + 1, max(first, self._head - NEAR_HEAD_BLOCKS))  # is always read
        spans = busy_spans(self._reader, first, fresh - 1, step=self.blocks)
        at = first
        for start, end in [(first, last)] if spans is None else [*spans, (fresh, last)]:
            if at < start:
                yield at, start - 1, []
            yield from self.walk(start, end)
            if self.ended_early:
                return
            at = end + 1

    def _is_late(self) -> bool:
        if time.monotonic() >= self._until:
            if self._fault is None:
                self.ended_early = True
            elif self.blocks < _FEW_BLOCKS:
                raise self._fault  # else a few blocks are tried first: the next walk begins there
        return self.ended_early

    def _shrink(self, error: RangeTooWideError, asked: int) -> None:
        if asked <= 1:
            raise error
        known = asked // 2 if error.by_size else self.answered
        smaller = (error.blocks, known, _FEW_BLOCKS, 1)
        self.blocks = next(size for size in smaller if size and size < asked)
        if not error.by_size:  # that says nothing of other blocks, which may hold fewer logs
            self._most = self.blocks if self.blocks == error.blocks else asked - 1
            self._limited = True
        self._fault = error
        logger.info("log_range_reduced", blocks=self.blocks)


def busy_spans(
    reader: ChainClient, first: int, last: int, *, step: int
) -> list[tuple[int, int]] | None:
    """Return the parts of a range in which ids were given out; None if that cannot be known.

    `step`: how many blocks of logs can be read at once; nothing smaller is looked for. A node that
    does not answer for old blocks may well answer for others: raises only what refuses our account
    or rate.
    """
    before = max(0, first - 1)
    try:
        ids = reader.next_token_ids([before, last])
        if ids[before] >= ids[last]:
            # Something is missing, or nobody would read: then the node's old state is not true.
            return None
        busy, wide = [], [(before, last)]
        while wide:
            cut = [(start, (start + end) // 2, end) for start, end in wide]
            ids |= reader.next_token_ids(middle for _, middle, _ in cut)
            halves = [
                half for start, middle, end in cut for half in ((start, middle), (middle, end))
            ]
            changed = [(start, end) for start, end in halves if ids[start] != ids[end]]
            busy += [(start + 1, end) for start, end in changed if end - start <= step]
            wide = [(start, end) for start, end in changed if end - start > step]
    except ProviderError as error:
        if is_account_or_rate(error):
            raise
        logger.info("no_old_state", error=str(error))
        return None
    return sorted(busy)

"""Walk a range of blocks in steps that the provider accepts.

A step doubles on success. When it is refused it shrinks: to what the provider suggests; by half,
where one answer would hold too many logs; else, where the provider says nothing that helps or
nothing at all, to what it has answered before, or to a few blocks. What was refused is not asked
for again in this walk, unless it was for too many logs: other blocks hold fewer, so that is tried
again after some successes.

Parts of a long range can be proven to hold no mint, so that their logs need not be read:
`nextTokenId` at the end of a block says how many ids were given out until then, and where it is
the same at both ends, nobody minted in between. Where a provider gives ten blocks of logs at once,
a month of a quiet chain is 130,000 requests; halving it by `nextTokenId` takes a few dozen. It
needs a node that keeps old state; without one everything is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import structlog

from glisk.clients.chain import CALLS_AT_ONCE, ChainClient, RangeTooWideError, RawLog
from glisk.errors import ProviderError, is_account_or_rate

logger = structlog.get_logger(__name__)

FIRST_RANGE_BLOCKS = 2_000
LARGEST_RANGE_BLOCKS = 50_000
# So close to the head, a node behind a load balancer may not have the block yet.
NEAR_HEAD_BLOCKS = 32
# Few enough for every provider that is known; less than that is one block.
_FEW_BLOCKS = 8
_SUCCESSES_BEFORE_RETRY = 8
# Worth asking if so many requests for logs can be spared.
WORTH_REQUESTS = 64
_PIECES = 16


class RangeWalker:
    """`blocks` is the size of the next step, `answered` that of the last whole one."""

    def __init__(
        self,
        reader: ChainClient,
        *,
        head: int,
        blocks: int | None = None,
        until: float | None = None,
    ) -> None:
        """`until`: no step begins after this moment of the monotonic clock."""
        self.blocks = max(1, blocks or FIRST_RANGE_BLOCKS)
        self.answered: int | None = None
        self.ended_early = False
        self._reader = reader
        self._head = head
        self._until = until
        self._rule = LARGEST_RANGE_BLOCKS
        self._refused = LARGEST_RANGE_BLOCKS + 1
        self._until_forgotten = 0  # successes
        self._fault: RangeTooWideError | None = None  # since the last answer
        self._limited = False  # by a rule of the provider, whether it names it or not
        self._probed = False

    def walk(self, first: int, last: int) -> Iterator[tuple[int, int, list[RawLog]]]:
        """Yield (from, to, raw logs) until `last` is reached, both ends included.

        Parts that are proven to hold no mint come without logs and without a request. Raises
        `RangeTooWideError` if not even one block is given, or nothing within its time, and the
        errors of the reader.
        """
        start = first
        while start <= last:
            if self._is_late():
                return
            if self._is_long(start, last):
                yield from self._walk_busy(start, last)
                return
            read = self._read(start, last)
            if read is not None:
                yield start, *read
                start = read[0] + 1

    def _walk_busy(self, first: int, last: int) -> Iterator[tuple[int, int, list[RawLog]]]:
        """Walk a long range by small steps, without its quiet parts."""
        self._probed = True
        fresh = min(last + 1, max(first, self._head - NEAR_HEAD_BLOCKS))  # is always read
        spans = busy_spans(self._reader, first, fresh - 1, step=self.blocks)
        if spans is None:
            yield from self.walk(first, last)
            return
        at = first
        for start, end in [*spans, *([(fresh, last)] if fresh <= last else [])]:
            if at < start:
                yield at, start - 1, []
            yield from self.walk(start, end)
            if self.ended_early:
                return
            at = end + 1
        if at <= last:
            yield at, last, []

    def _is_late(self) -> bool:
        if self._until is not None and time.monotonic() >= self._until:
            if self._fault is None:
                self.ended_early = True
            elif self.blocks < _FEW_BLOCKS:
                raise self._fault  # else a few blocks are tried first: the next walk begins there
        return self.ended_early

    def _is_long(self, start: int, last: int) -> bool:
        """Tell whether it is worth finding out which parts are quiet: once, and by a small rule."""
        requests = (last - start + 1) // self.blocks
        return self._limited and not self._probed and requests >= WORTH_REQUESTS

    def _read(self, start: int, last: int) -> tuple[int, list[RawLog]] | None:
        """Read one step; return its end and its logs, or None if the step has to be smaller."""
        end = min(last, start + self.blocks - 1)
        near_head = end > self._head - NEAR_HEAD_BLOCKS
        try:
            logs = self._reader.logs(first=start, last=end, near_head=near_head)
        except RangeTooWideError as error:
            self._shrink(error, end - start + 1)
            return None
        self._fault = None
        if end - start + 1 == self.blocks:  # a shorter one, at the end, proves nothing
            self._grow()
        return end, logs

    def _shrink(self, error: RangeTooWideError, asked: int) -> None:
        if asked <= 1:
            raise error
        suggested = error.blocks if error.blocks is not None and error.blocks < asked else None
        if error.by_size:
            self.blocks = suggested or asked // 2
            self._until_forgotten = _SUCCESSES_BEFORE_RETRY
        else:
            self.blocks = suggested or self._surely_less(asked)
            self._rule = suggested or self._rule
            self._until_forgotten = 0
            self._limited = True
        self._refused, self._fault = asked, error
        logger.info("log_range_reduced", blocks=self.blocks)

    def _surely_less(self, asked: int) -> int:
        if self.answered is not None and self.answered < asked:
            return self.answered
        return _FEW_BLOCKS if asked > _FEW_BLOCKS else 1

    def _grow(self) -> None:
        self.answered = self.blocks
        if self._until_forgotten:
            self._until_forgotten -= 1
            if not self._until_forgotten:
                self._refused = LARGEST_RANGE_BLOCKS + 1
        doubled = min(2 * self.blocks, self._rule)
        if doubled < self._refused:
            self.blocks = doubled


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
        busy = _narrow(reader, first - 1, last, {**ids, first - 1: ids[before]}, step)
    except ProviderError as error:
        if is_account_or_rate(error):
            raise
        logger.info("no_old_state", error=str(error))
        return None
    found: list[tuple[int, int]] = []
    for before, end in busy:
        if found and found[-1][1] == before:
            found[-1] = (found[-1][0], end)
        else:
            found.append((before + 1, end))
    return found


def _narrow(
    reader: ChainClient, before: int, last: int, ids: dict[int, int], step: int
) -> list[tuple[int, int]]:
    """Cut the blocks after `before` up to `last` until each busy piece has at most `step`.

    `ids` are the next token ids at both. Returns the busy pieces in order, as the block before
    and the last one.
    """
    done: list[tuple[int, int]] = []
    wide = [(before, last)]
    while wide:
        most = max(2, min(_PIECES, CALLS_AT_ONCE // len(wide)))
        cut = [_edges(start, end, min(most, -(-(end - start) // step))) for start, end in wide]
        ids |= reader.next_token_ids([block for edges in cut for block in edges[1:-1]])
        pieces = [piece for edges in cut for piece in pairwise(edges)]
        busy = [(start, end) for start, end in pieces if ids[start] != ids[end]]
        done += [(start, end) for start, end in busy if end - start <= step]
        wide = [(start, end) for start, end in busy if end - start > step]
    return sorted(done)


def _edges(before: int, last: int, pieces: int) -> list[int]:
    return [before + (last - before) * n // pieces for n in range(pieces + 1)]

"""Prove parts of a range to hold no mint, so that their logs need not be read.

`nextTokenId` at the end of a block says how many ids were given out until then: where it is the
same at both ends of a range, nobody minted in between. Where a provider gives ten blocks of logs
at once, a month of a quiet chain is 130,000 requests; halving it by `nextTokenId` takes a few
dozen. It needs a node that keeps old state; without one everything is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import structlog

from glisk.clients.mint_reader import CALLS_AT_ONCE, MintReader
from glisk.errors import ProviderError, is_account_or_rate

logger = structlog.get_logger(__name__)

# Worth asking if so many requests for logs can be spared.
WORTH_REQUESTS = 64
_PIECES = 16


@dataclass(frozen=True)
class _Span:
    """Blocks after `before` up to `last`, and the next token ids at those two."""

    before: int
    last: int
    ids_before: int
    ids_last: int

    @property
    def is_quiet(self) -> bool:
        return self.ids_before == self.ids_last

    def cuts(self, step: int, most: int) -> list[int]:
        """Return the blocks at which to cut it into pieces of at least `step` blocks."""
        blocks = self.last - self.before
        pieces = max(1, min(_PIECES, most, -(-blocks // step)))
        return [self.before + blocks * n // pieces for n in range(1, pieces)]


def busy_spans(
    reader: MintReader, first: int, last: int, *, step: int
) -> list[tuple[int, int]] | None:
    """Return the parts of a range in which ids were given out; None if that cannot be known.

    `step`: how many blocks of logs can be read at once; nothing smaller is looked for. A node that
    does not answer for old blocks may well answer for others: raises only what refuses our account
    or rate.
    """
    try:
        ends = reader.next_token_ids([max(0, first - 1), last])
        whole = _Span(first - 1, last, ends[max(0, first - 1)], ends[last])
        if whole.ids_before >= whole.ids_last:
            # Something is missing, or nobody would read: then the node's old state is not true.
            return None
        return _narrow(reader, [whole], step)
    except ProviderError as error:
        if is_account_or_rate(error):
            raise
        logger.info("no_old_state", error=str(error))
        return None


def _narrow(reader: MintReader, spans: list[_Span], step: int) -> list[tuple[int, int]]:
    done: list[_Span] = []
    while spans:
        share = max(2, CALLS_AT_ONCE // len(spans))
        cut = [(span, span.cuts(step, share)) for span in spans]
        done += [span for span, cuts in cut if not cuts]
        ids = reader.next_token_ids([block for _, cuts in cut for block in cuts])
        spans = [
            piece
            for span, cuts in cut
            if cuts
            for piece in _pieces(span, cuts, ids)
            if not piece.is_quiet
        ]
    found: list[tuple[int, int]] = []
    for span in sorted(done, key=lambda span: span.before):
        if found and found[-1][1] == span.before:
            found[-1] = (found[-1][0], span.last)
        else:
            found.append((span.before + 1, span.last))
    return found


def _pieces(span: _Span, cuts: list[int], ids: dict[int, int]) -> list[_Span]:
    known = {span.before: span.ids_before, **{c: ids[c] for c in cuts}, span.last: span.ids_last}
    ends = pairwise([span.before, *cuts, span.last])
    return [_Span(before, last, known[before], known[last]) for before, last in ends]

"""One look at the chain: new mints, blocks that changed, and whether anything is missing.

In the usual case it is one round trip of three calls: chain, newest block and `nextTokenId`, and
the blocks of mints that are not settled yet. The contract numbers without gaps: as long as every
id below `nextTokenId` has a row, no log needs to be read.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field

import structlog
from django.conf import settings

from glisk.clients.chain import ChainClient, RangeTooWideError, Survey
from glisk.errors import ProviderError
from tokens.models import MintEvent, Token
from tokens.recovery.backfill import backfill_if_given
from tokens.recovery.gaps import GapReport, block_bounds, fill_gaps, missing_ranges
from tokens.recovery.progress import (
    Memory,
    Progress,
    is_worth_trying,
    load,
    rewind_progress,
    save_memory,
    save_progress,
    wait_before_trying,
)
from tokens.recovery.reorgs import ReorgReport, settle_mints

logger = structlog.get_logger(__name__)

# Blocks that are read again each time: a load-balanced node may answer for a moment from behind.
# With it, a look every few seconds fits into the ten blocks that Alchemy's free plan gives.
OVERLAP_BLOCKS = 4
_LONGEST_RETRY_SECONDS = 300.0
_WATCHED_AT_ONCE = 1000  # mints


@dataclass
class ScanReport(GapReport):
    head: int = 0
    reorgs: ReorgReport = field(default_factory=ReorgReport)
    lagging: bool = False  # the node is behind what we have read already
    complete: bool = False  # every id that the contract has given out has a row


def scan_chain(reader: ChainClient, *, budget_seconds: float = math.inf) -> ScanReport:
    """Bring the database up to the newest block.

    With a budget it ends in order when that is used up, and the next look goes on from there
    (`ended_early`). Raises the errors of the reader; whatever was read until then is stored.
    """
    until = time.monotonic() + budget_seconds
    progress, memory = load()
    unsettled = MintEvent.objects.filter(settled_at=None).order_by("block_number", "id")
    watched = list(unsettled[:_WATCHED_AT_ONCE])
    survey = reader.survey(blocks=[mint.block_number for mint in watched])
    report = ScanReport(head=survey.head.number, next_token_id=survey.next_token_id)
    report.lagging = progress.head is not None and report.head < progress.head - OVERLAP_BLOCKS
    fault = None
    if report.lagging:
        # It proves nothing: neither that a mint is gone nor that none came since.
        logger.warning("node_lags", head=report.head, seen=progress.head)
    elif watched or memory.suspects:
        try:
            report.reorgs = settle_mints(reader, survey, watched, memory)
            report.created += report.reorgs.created
        except ProviderError as error:
            fault = error  # new mints need not wait for it
    remembered, missing = asdict(memory), _count_missing(survey, memory)
    if missing and is_worth_trying(memory.gap, next=survey.next_token_id, ids=missing):
        first = int(settings.CONTRACT_DEPLOYED_AT_BLOCK)
        if progress.block is not None:
            first = max(first, progress.block + 1 - OVERLAP_BLOCKS)
        refusal = backfill_if_given(
            reader,
            first=first,
            last=report.head,
            head=report.head,
            report=report,
            range_blocks=progress.range_blocks,
            until=until,
        )
        # A node that gives no logs still knows the tokens; asking again would only take time.
        is_silent = isinstance(refusal, RangeTooWideError) and refusal.unanswered
        unread = str(refusal) if is_silent else ""
        missing = _count_missing(survey, memory)
        if missing and not report.ended_early:
            fill_gaps(reader, survey=survey, until=until, unread=unread, report=report)
            missing = _count_missing(survey, memory)
        if missing and not report.ended_early:
            _remember_gap(survey, memory, missing)
    if missing == 0:
        report.complete = True
        memory.known_below = max(memory.known_below, survey.next_token_id)
        memory.gap = {}
        # The head of a node that lags changes nothing.
        save_progress(Progress(block=report.head, head=report.head))
    if asdict(memory) != remembered:
        save_memory(memory)
    if fault is not None:
        raise fault
    return report


def _count_missing(survey: Survey, memory: Memory) -> int:
    """Count the ids without a row; ids that the node does not know yet do not count."""
    first, following = memory.known_below, survey.next_token_id
    if following <= first:
        return 0
    known = Token.objects.filter(token_id__gte=first, token_id__lt=following).count()
    return following - first - known


def _remember_gap(survey: Survey, memory: Memory, missing: int) -> None:
    """Wait longer each time for the same gap; the blocks around it count as unread."""
    wait = wait_before_trying(
        memory.gap, longest_seconds=_LONGEST_RETRY_SECONDS, next=survey.next_token_id, ids=missing
    )
    ranges = missing_ranges(survey.next_token_id, known_below=memory.known_below)
    if ranges:
        lowest, _ = block_bounds(ranges[:1], head=0)[0]
        rewind_progress(lowest - 1)
    logger.warning("tokens_missing", count=missing, next_look_in_seconds=wait)

"""One look at the chain: new mints, blocks that changed, and whether anything is missing.

In the usual case it is one round trip of three calls: chain, newest block and `nextTokenId`, and
the blocks of mints that are not settled yet. The contract numbers without gaps: as long as every
id below `nextTokenId` has a row, no log needs to be read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import structlog
from django.conf import settings

from glisk.clients.chain import ChainClient, RangeTooWideError, Survey
from glisk.errors import AccountError, ProviderError, TransientError
from tokens.recovery.backfill import Report, backfill
from tokens.recovery.confirmations import unsettled_mints
from tokens.recovery.gaps import (
    GapReport,
    count_rows,
    fill_gaps,
    low_bound,
    missing_ranges,
)
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


@dataclass
class ScanReport:
    head: int = 0
    next_token_id: int = 0
    mints: Report = field(default_factory=Report)
    gaps: GapReport | None = None
    reorgs: ReorgReport = field(default_factory=ReorgReport)
    lagging: bool = False  # the node is behind what we have read already
    complete: bool = False  # every id that the contract has given out has a row

    @property
    def ended_early(self) -> bool:
        """Tell whether its time was up; the next look goes on from there."""
        return self.mints.ended_early or (self.gaps is not None and self.gaps.ended_early)

    @property
    def created(self) -> int:
        return self.mints.created + self.reorgs.created + (self.gaps.created if self.gaps else 0)


def scan_chain(reader: ChainClient, *, budget_seconds: float | None = None) -> ScanReport:
    """Bring the database up to the newest block.

    With a budget it ends in order when that is used up, and the next look goes on from there
    (`ended_early`). Raises the errors of the reader; whatever was read until then is stored.
    """
    until = None if budget_seconds is None else time.monotonic() + budget_seconds
    progress, memory = load()
    watched = unsettled_mints()
    survey = reader.survey(blocks=[mint.block_number for mint in watched])
    report = ScanReport(head=survey.head.number, next_token_id=survey.next_token_id)
    report.lagging = (
        progress.head is not None and survey.head.number < progress.head - OVERLAP_BLOCKS
    )
    if report.lagging:
        # It proves nothing: neither that a mint is gone nor that none came since.
        logger.warning("node_lags", head=survey.head.number, seen=progress.head)
    fault = None
    if not report.lagging and (watched or memory.suspects):
        try:
            report.reorgs = settle_mints(reader, survey, watched, memory)
        except ProviderError as error:
            fault = error  # new mints need not wait for it
    look = _Look(reader, survey, progress, memory, report, until)
    if not look.is_complete() and look.is_worth_trying():
        look.read()
    look.remember()
    if fault is not None:
        raise fault
    return report


@dataclass
class _Look:
    """What one look knows, and the reading of what is missing."""

    reader: ChainClient
    survey: Survey
    progress: Progress
    memory: Memory
    report: ScanReport
    until: float | None
    tried: bool = False
    counted: int | None = None  # the missing ids, until something is read

    def missing(self) -> int:
        """Count the ids without a row; ids that the node does not know yet do not count."""
        if self.counted is None:
            first, following = self.memory.known_below, self.survey.next_token_id
            known = count_rows(first, following) if following > first else 0
            self.counted = max(0, following - first - known)
        return self.counted

    def is_complete(self) -> bool:
        return self.missing() == 0

    def is_worth_trying(self) -> bool:
        """Tell whether the gap is new, or has not been tried for long enough."""
        following, missing = self.survey.next_token_id, self.missing()
        return is_worth_trying(self.memory.gap, next=following, ids=missing)

    def read(self) -> None:
        """Read the logs since the last look; then whatever they do not explain."""
        self.tried = True
        deployed = int(settings.CONTRACT_DEPLOYED_AT_BLOCK)
        stored = self.progress.block
        head = self.survey.head.number
        silent = ""
        first = deployed if stored is None else max(deployed, stored + 1 - OVERLAP_BLOCKS)
        try:
            backfill(
                self.reader,
                first=first,
                last=head,
                head=head,
                report=self.report.mints,
                range_blocks=self.progress.range_blocks,
                until=self.until,
            )
        except (TransientError, AccountError):
            raise
        except ProviderError as error:
            # A node that keeps no logs, or none of these blocks, still knows the tokens.
            logger.warning("logs_unread", first=first, last=head, error=str(error))
            if isinstance(error, RangeTooWideError) and error.unanswered:
                silent = str(error)  # asking for some of them again would only take time
        self.counted = None
        if not self.report.mints.ended_early and not self.is_complete():
            self.report.gaps = fill_gaps(
                self.reader, survey=self.survey, until=self.until, unread=silent
            )
            self.counted = None

    def remember(self) -> None:
        """Store how far everything is known, or that something cannot be found now."""
        before = (self.memory.known_below, dict(self.memory.gap))
        missing = self.missing()
        self.report.complete = missing == 0
        if self.report.complete:
            self.memory.known_below = max(self.memory.known_below, self.survey.next_token_id)
            self.memory.gap = {}
            head = self.survey.head.number  # of a node that lags it changes nothing
            save_progress(Progress(block=head, head=head))
        elif self.tried and not self.report.ended_early:
            self._remember_gap(missing)
        if before != (self.memory.known_below, self.memory.gap):
            save_memory(self.memory)

    def _remember_gap(self, missing: int) -> None:
        """Wait longer each time for the same gap; the blocks around it count as unread."""
        wait = wait_before_trying(
            self.memory.gap,
            longest_seconds=_LONGEST_RETRY_SECONDS,
            next=self.survey.next_token_id,
            ids=missing,
        )
        ranges = missing_ranges(self.survey.next_token_id, known_below=self.memory.known_below)
        if ranges:
            rewind_progress(low_bound(ranges[0][0]) - 1)
        logger.warning("tokens_missing", count=missing, next_look_in_seconds=wait)

"""One look at the chain: new mints, blocks that changed, and whether anything is missing.

In the usual case it is one round trip: the newest block, `nextTokenId`, the logs since the last
look, and the blocks of mints that are not settled yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
from django.conf import settings

from glisk.clients.mint_reader import MintReader, Survey
from tokens.recovery.backfill import Report, backfill, register_logs
from tokens.recovery.progress import Progress, load_progress, save_progress
from tokens.recovery.reorgs import ReorgReport, settle_changed_blocks, unsettled_blocks

logger = structlog.get_logger(__name__)

# Blocks that are read again each time: a reorg of the newest ones may bring other mints, and a
# load-balanced node may answer for a moment from behind. With it, a pass every few seconds fits
# into the ten blocks that Alchemy's free plan gives.
OVERLAP_BLOCKS = 4


@dataclass
class ScanReport:
    head: int = 0
    next_token_id: int = 0
    requests: int = 0
    mints: Report = field(default_factory=Report)
    reorgs: ReorgReport = field(default_factory=ReorgReport)
    lagging: bool = False  # the node is behind what we have read already


def scan_chain(reader: MintReader) -> ScanReport:
    """Bring the database up to the newest block.

    Raises the errors of the reader; whatever was read until then is stored, and the next pass
    goes on from there.
    """
    progress = load_progress()
    first = _first_block(progress)
    survey = reader.survey(from_block=first, blocks=unsettled_blocks())
    report = ScanReport(head=survey.head.number, next_token_id=survey.next_token_id)
    if progress.block is not None and survey.head.number < progress.block - OVERLAP_BLOCKS:
        # A node that is behind proves nothing: neither that a mint is gone nor that none came.
        logger.warning("node_lags", head=survey.head.number, processed=progress.block)
        report.lagging = True
        report.requests = reader.requests
        return report
    _read_logs(reader, survey, first, progress, report)
    report.reorgs = settle_changed_blocks(reader, survey)
    report.requests = reader.requests
    return report


def _first_block(progress: Progress) -> int:
    if progress.block is None:
        return int(settings.CONTRACT_DEPLOYED_AT_BLOCK)
    return max(int(settings.CONTRACT_DEPLOYED_AT_BLOCK), progress.block + 1 - OVERLAP_BLOCKS)


def _read_logs(
    reader: MintReader, survey: Survey, first: int, progress: Progress, report: ScanReport
) -> None:
    head = survey.head.number
    if survey.logs is None:
        suggested = survey.too_wide.blocks if survey.too_wide else None
        backfill(
            reader,
            first=first,
            last=head,
            head=head,
            report=report.mints,
            range_blocks=suggested or progress.range_blocks,
        )
        return
    register_logs(reader, survey.logs, report.mints)
    save_progress(
        Progress(
            block=head,
            block_hash=survey.head.block_hash,
            head=head,
            range_blocks=progress.range_blocks,
        )
    )

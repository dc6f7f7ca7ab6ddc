"""Read mints from the chain's logs, however little the provider gives at once.

The range of one request adapts: it shrinks to what the provider suggests, or by half, when it
refuses, and grows again on success, up to what was refused before. Each range is registered and
its end stored before the next is asked for, so a backfill that is interrupted goes on where it
was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import transaction

from glisk.clients.mint_reader import MintReader, RangeTooWideError
from tokens.mint_log import MalformedLog, MintLog, decode_rpc_mint_log
from tokens.models.mint import MintSource
from tokens.recovery.adoption import adopt_revealed, revealed_facts, unknown_ids
from tokens.recovery.progress import Progress, save_progress
from tokens.registration import MintOutcome, MintResult, register_mints
from tokens.states import TokenStatus

logger = structlog.get_logger(__name__)

ACTOR = "backfill"
FIRST_RANGE_BLOCKS = 2_000
LARGEST_RANGE_BLOCKS = 50_000
LOGS_AT_ONCE = 500


@dataclass
class Report:
    """What a backfill found. `failed_at` is the first block that could not be read."""

    blocks: int = 0
    logs: int = 0
    created: int = 0
    adopted: list[int] = field(default_factory=list)  # revealed on chain before we knew them
    malformed: list[str] = field(default_factory=list)
    conflicts: list[MintOutcome] = field(default_factory=list)
    reorged: list[MintOutcome] = field(default_factory=list)

    def add(self, outcomes: Sequence[MintOutcome]) -> None:
        self.logs += len(outcomes)
        for outcome in outcomes:
            self.created += len(outcome.created)
            if outcome.result is MintResult.CONFLICT:
                self.conflicts.append(outcome)
            elif outcome.result is MintResult.REORGED:
                self.reorged.append(outcome)


class RangeWalker:
    """Walks a range of blocks in steps that the provider accepts."""

    def __init__(self, reader: MintReader, *, blocks: int = FIRST_RANGE_BLOCKS) -> None:
        self.blocks = max(1, blocks)
        self._reader = reader
        self._ceiling = LARGEST_RANGE_BLOCKS

    def walk(self, first: int, last: int) -> Iterator[tuple[int, int, list[dict[str, Any]]]]:
        """Yield (from, to, raw logs) until `last` is reached, both ends included.

        Raises `RangeTooWideError` if not even one block is given, and the errors of the reader.
        """
        start = first
        while start <= last:
            end = min(last, start + self.blocks - 1)
            try:
                logs = self._reader.mint_logs(from_block=start, to_block=end)
            except RangeTooWideError as error:
                self._shrink(error, end - start + 1)
                continue
            yield start, end, logs
            start = end + 1
            self.blocks = min(self._ceiling, self.blocks * 2)

    def _shrink(self, error: RangeTooWideError, asked: int) -> None:
        if asked <= 1:
            raise error
        wanted = error.blocks if error.blocks and error.blocks < asked else asked // 2
        if error.blocks and error.blocks < asked:
            self._ceiling = wanted  # a rule of the plan: asking for more again is a wasted call
        self.blocks = max(1, wanted)
        logger.info("log_range_reduced", blocks=self.blocks)


def decode_logs(
    reader: MintReader, logs: Sequence[dict[str, Any]]
) -> tuple[list[MintLog], list[str]]:
    """Return the mints of raw logs, and why some are none. Logs taken back are left out."""
    wanting = sorted(
        {
            int(str(log.get("blockNumber")), 16)
            for log in logs
            if log.get("blockTimestamp") is None and log.get("blockNumber")
        }
    )
    times = {
        number: block.timestamp
        for number, block in (reader.blocks(wanting) if wanting else {}).items()
        if block is not None
    }
    mints: list[MintLog] = []
    malformed: list[str] = []
    for log in logs:
        if log.get("removed") is True:
            continue
        number = int(str(log.get("blockNumber") or "0x0"), 16)
        try:
            mints.append(decode_rpc_mint_log(log, block_timestamp=times.get(number)))
        except MalformedLog as error:
            malformed.append(f"block {number}: {error}")
    return mints, malformed


def register_logs(reader: MintReader, logs: Sequence[dict[str, Any]], report: Report) -> None:
    """Register raw logs in bulk; add what became of them to the report.

    Tokens that are new to us may be revealed already: the contract is asked before they exist
    here, and they become revealed in the commit that creates them, so that nothing is paid.
    """
    mints, malformed = decode_logs(reader, logs)
    report.malformed += malformed
    for start in range(0, len(mints), LOGS_AT_ONCE):
        part = mints[start : start + LOGS_AT_ONCE]
        fresh = unknown_ids(token_id for mint in part for token_id in mint.token_ids)
        revealed = revealed_facts(reader, fresh)
        with transaction.atomic():
            outcomes = register_mints(part, source=MintSource.BACKFILL, actor=ACTOR)
            created = {token_id for outcome in outcomes for token_id in outcome.created}
            report.adopted += adopt_revealed(
                {token_id: facts for token_id, facts in revealed.items() if token_id in created},
                source=TokenStatus.DETECTED,
                actor=ACTOR,
            )
        report.add(outcomes)


def backfill(
    reader: MintReader,
    *,
    first: int,
    last: int,
    head: int,
    report: Report,
    range_blocks: int | None = None,
    keep_progress: bool = True,
    on_range: Callable[[int, int], None] | None = None,
) -> None:
    """Register every mint from block `first` to `last`, both included.

    `keep_progress` stores the end of each range, which is right only if everything before
    `first` has been read. Raises what the reader raises; `report` holds what was done until then.
    """
    walker = RangeWalker(reader, blocks=range_blocks or FIRST_RANGE_BLOCKS)
    for start, end, logs in walker.walk(first, last):
        register_logs(reader, logs, report)
        report.blocks += end - start + 1
        if keep_progress:
            save_progress(Progress(block=end, head=head, range_blocks=walker.blocks))
        if on_range is not None:
            on_range(start, end)


def count_unknown(
    reader: MintReader,
    *,
    first: int,
    last: int,
    head: int,
    report: Report,
    range_blocks: int | None = None,
    keep_progress: bool = False,
    on_range: Callable[[int, int], None] | None = None,
) -> None:
    """Do what `backfill` does, but write nothing: count the tokens that it would create."""
    walker = RangeWalker(reader, blocks=range_blocks or FIRST_RANGE_BLOCKS)
    for start, end, logs in walker.walk(first, last):
        mints, malformed = decode_logs(reader, logs)
        report.malformed += malformed
        report.logs += len(mints)
        report.created += len(unknown_ids(i for mint in mints for i in mint.token_ids))
        report.blocks += end - start + 1
        if on_range is not None:
            on_range(start, end)

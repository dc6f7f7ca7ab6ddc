"""Register what the chain's logs tell: mints, and reveals of tokens that are not ours.

Each range is registered and its end stored before the next is asked for, so a backfill that is
interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from django.db import transaction

from glisk.clients.chain import ChainClient, OnChainToken, RawLog, revealed_ids
from glisk.fields import is_hash
from tokens.minting.mint_log import LARGEST_ID, MalformedLog, MintLog, decode_rpc_mint_log
from tokens.minting.registration import MintOutcome, MintResult, register_mints
from tokens.models.mint import MintSource
from tokens.recovery.adoption import (
    RevealLog,
    adopt_known,
    adopt_new,
    adoptable,
    revealed_facts,
    unknown_ids,
)
from tokens.recovery.confirmations import settle_by_key, settled_depth
from tokens.recovery.logs import RangeWalker
from tokens.recovery.progress import Progress, save_progress
from tokens.transitions.chain import name_transactions

logger = structlog.get_logger(__name__)

ACTOR = "backfill"
TOKENS_AT_ONCE = 2_500  # in one transaction


@dataclass
class Report:
    """What a backfill found. `ended_early`: its time was up before its last block."""

    blocks: int = 0
    logs: int = 0
    created: int = 0
    completed: int = 0
    adopted: list[int] = field(default_factory=list)  # revealed on chain, not by us
    malformed: list[str] = field(default_factory=list)
    conflicts: list[MintOutcome] = field(default_factory=list)
    reorged: list[MintOutcome] = field(default_factory=list)
    ended_early: bool = False

    def add(self, outcomes: Sequence[MintOutcome]) -> None:
        self.logs += len(outcomes)
        for outcome in outcomes:
            self.created += len(outcome.created)
            self.completed += len(outcome.completed)
            if outcome.result is MintResult.CONFLICT:
                self.conflicts.append(outcome)
            elif outcome.result is MintResult.REORGED:
                self.reorged.append(outcome)


@dataclass(frozen=True)
class Found:
    """What raw logs say."""

    mints: list[MintLog]
    reveals: dict[int, RevealLog]
    malformed: list[str]


def backfill(
    reader: ChainClient,
    *,
    first: int,
    last: int,
    head: int,
    report: Report,
    range_blocks: int | None = None,
    keep_progress: bool = True,
    only_ids: Collection[int] | None = None,
    until: float | None = None,
    on_range: Callable[[int, int], None] | None = None,
) -> None:
    """Register every mint from block `first` to `last`, both included.

    `keep_progress` stores the end of each range, which is right only if everything before
    `first` has been read. `only_ids`: create no other tokens. `until`: end in order after this
    moment of the monotonic clock. Raises what the reader raises; `report` holds what was done
    until then.
    """
    walker = RangeWalker(reader, head=head, blocks=range_blocks, until=until)
    for start, end, logs in walker.walk(first, last):
        register_logs(reader, logs, report, head=head, only_ids=only_ids)
        report.blocks += end - start + 1
        if keep_progress:
            save_progress(Progress(block=end, head=head, range_blocks=walker.answered))
        if on_range is not None:
            on_range(start, end)
    report.ended_early = walker.ended_early


def count_unknown(
    reader: ChainClient,
    *,
    first: int,
    last: int,
    head: int,
    report: Report,
    range_blocks: int | None = None,
    on_range: Callable[[int, int], None] | None = None,
) -> None:
    """Do what `backfill` does, but write nothing: count the tokens that it would create."""
    walker = RangeWalker(reader, head=head, blocks=range_blocks)
    for start, end, logs in walker.walk(first, last):
        found = decode_logs(reader, logs)
        report.malformed += found.malformed
        report.logs += len(found.mints)
        report.created += len(unknown_ids(i for mint in found.mints for i in mint.token_ids))
        report.blocks += end - start + 1
        if on_range is not None:
            on_range(start, end)


def decode_logs(reader: ChainClient, logs: Sequence[RawLog]) -> Found:
    """Return the mints and reveals of raw logs, and why some could not be read."""
    times = block_times(reader, logs)
    mints: list[MintLog] = []
    reveals: dict[int, RevealLog] = {}
    malformed: list[str] = []
    for log in logs:
        number = int(log["blockNumber"], 16)
        if reader.is_reveal(log):
            seen = RevealLog(_transaction(log), _moment(log, times))
            # The contract reveals any number at all; most of them are no ids, and fit no column.
            ids = (token_id for token_id in revealed_ids(log) if token_id <= LARGEST_ID)
            reveals.update(dict.fromkeys(ids, seen))
            continue
        try:
            mints.append(decode_rpc_mint_log(log, block_timestamp=times.get(number)))
        except MalformedLog as error:
            malformed.append(f"block {number}: {error}")
    if malformed:
        logger.error("chain_logs_malformed", reasons=malformed[:10])
    return Found(mints, reveals, malformed)


def block_times(reader: ChainClient, logs: Sequence[RawLog]) -> dict[int, int]:
    """Return the times (unix seconds) of the blocks whose logs do not tell it, by one batch."""
    wanted = {int(log["blockNumber"], 16) for log in logs if log.get("blockTimestamp") is None}
    return {n: b.timestamp for n, b in reader.blocks(wanted).items() if b} if wanted else {}


def _transaction(log: RawLog) -> str | None:
    tx_hash = log.get("transactionHash")
    return tx_hash.lower() if is_hash(tx_hash) else None


def _moment(log: RawLog, times: Mapping[int, int]) -> datetime | None:
    stamped: Any = log.get("blockTimestamp")
    try:
        seconds = times.get(int(log["blockNumber"], 16)) if stamped is None else int(stamped, 16)
        return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)
    except (TypeError, ValueError, OverflowError, OSError):  # no number, or no date
        return None


def register_logs(
    reader: ChainClient,
    logs: Sequence[RawLog],
    report: Report,
    *,
    head: int,
    only_ids: Collection[int] | None = None,
) -> None:
    """Register raw logs in bulk; add what became of them to the report.

    Tokens that are new to us may be revealed already: the contract is asked before they exist
    here, and they become revealed in the commit that creates them, so that nothing is paid.
    """
    found = decode_logs(reader, logs)
    report.malformed += found.malformed
    mints = found.mints
    if only_ids is not None:
        mints = [mint for mint in mints if not set(only_ids).isdisjoint(mint.token_ids)]
    for part in _parts(mints):
        revealed = revealed_facts(
            reader, unknown_ids(token_id for mint in part for token_id in mint.token_ids)
        )
        with transaction.atomic():
            register_found(part, revealed, found.reveals, report, head=head, only_ids=only_ids)
    if found.reveals:
        _adopt_from_logs(reader, found.reveals, report)


def register_found(
    mints: Sequence[MintLog],
    revealed: Mapping[int, OnChainToken],
    reveals: Mapping[int, RevealLog],
    report: Report,
    *,
    head: int,
    only_ids: Collection[int] | None = None,
) -> None:
    """Register mints that the chain holds now; within the caller's transaction."""
    outcomes = register_mints(mints, source=MintSource.BACKFILL, actor=ACTOR, only_ids=only_ids)
    created = {token_id for outcome in outcomes for token_id in outcome.created}
    fresh = {token_id: facts for token_id, facts in revealed.items() if token_id in created}
    report.adopted += sorted(adopt_new(fresh, actor=ACTOR, logs=reveals))
    deep = head - settled_depth() + 1
    settle_by_key(
        [
            (mint.tx_hash, mint.log_index, mint.block_hash)
            for mint, outcome in zip(mints, outcomes, strict=True)
            if mint.block_number <= deep
            and outcome.result not in (MintResult.CONFLICT, MintResult.REORGED)
        ]
    )
    report.add(outcomes)


def _parts(mints: Sequence[MintLog]) -> Iterator[list[MintLog]]:
    part: list[MintLog] = []
    tokens = 0
    for mint in mints:
        if part and tokens + mint.quantity > TOKENS_AT_ONCE:
            yield part
            part, tokens = [], 0
        part.append(mint)
        tokens += mint.quantity
    if part:
        yield part


def _adopt_from_logs(reader: ChainClient, reveals: Mapping[int, RevealLog], report: Report) -> None:
    """Adopt known tokens that logs call revealed and we do not; name their transactions."""
    name_transactions(
        {i: (log.tx_hash, log.revealed_at) for i, log in reveals.items() if log.tx_hash}
    )
    others = adoptable(reveals)
    if others:
        facts = revealed_facts(reader, sorted(others))
        report.adopted += sorted(adopt_known(facts, actor=ACTOR, logs=reveals))

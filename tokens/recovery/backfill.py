"""Register what the chain's logs tell: mints, and reveals of tokens that are not ours.

Each range is registered and its end stored before the next is asked for, so a backfill that is
interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from django.conf import settings
from django.db import transaction

from glisk.clients.chain import ChainClient, OnChainToken, RawLog, revealed_ids
from glisk.fields import is_hash
from tokens.minting.mint_log import (
    LARGEST_ID,
    MalformedLog,
    MintLog,
    decode_mint_log,
    read_timestamp,
)
from tokens.minting.registration import DOUBTFUL, MintOutcome, MintResult, register_mints
from tokens.models import MintEvent
from tokens.models.mint import MintSource
from tokens.recovery.adoption import (
    RevealLog,
    adopt,
    adoptable,
    revealed_facts,
    unknown_ids,
)
from tokens.recovery.logs import RangeWalker
from tokens.recovery.progress import Progress, save_progress
from tokens.transitions.chain import name_transactions

logger = structlog.get_logger(__name__)

ACTOR = "backfill"
TOKENS_AT_ONCE = 2_500  # in one transaction
# Mints are watched for this many blocks beyond MINT_CONFIRMATIONS. On Base only reorgs of one
# block have been seen; the reveal's gate checks the hash once more, whatever the depth.
WATCHED_BLOCKS = 12


def settled_depth() -> int:
    """Return how deep (the newest block is 1) a block has to be to be settled."""
    return int(settings.MINT_CONFIRMATIONS) + WATCHED_BLOCKS


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
        self.created += sum(len(outcome.created) for outcome in outcomes)
        self.completed += sum(len(outcome.completed) for outcome in outcomes)
        self.conflicts += [o for o in outcomes if o.result is MintResult.CONFLICT]
        self.reorged += [o for o in outcomes if o.result is MintResult.REORGED]


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
    on_range: Callable[[int, int], object] | None = None,
    dry_run: bool = False,
) -> None:
    """Register every mint from block `first` to `last`, both included.

    `keep_progress` stores the end of each range, which is right only if everything before
    `first` has been read. `only_ids`: create no other tokens. `until`: end in order after this
    moment of the monotonic clock. `dry_run`: write nothing, count what would be created. Raises
    what the reader raises; `report` holds what was done until then.
    """
    walker = RangeWalker(reader, head=head, blocks=range_blocks, until=until)
    for start, end, logs in walker.walk(first, last):
        if dry_run:
            found = decode_logs(reader, logs)
            report.malformed += found.malformed
            report.logs += len(found.mints)
            report.created += len(unknown_ids(i for mint in found.mints for i in mint.token_ids))
        else:
            register_logs(reader, logs, report, head=head, only_ids=only_ids)
            if keep_progress:
                save_progress(Progress(block=end, head=head, range_blocks=walker.answered))
        report.blocks += end - start + 1
        if on_range is not None:
            on_range(start, end)
    report.ended_early = walker.ended_early


def decode_logs(reader: ChainClient, logs: Sequence[RawLog]) -> Found:
    """Return the mints and reveals of raw logs, and why some could not be read."""
    # One batch asks for the blocks whose logs do not tell their time.
    untimed = {int(log["blockNumber"], 16) for log in logs if log.get("blockTimestamp") is None}
    blocks = reader.blocks(untimed) if untimed else {}
    found = Found([], {}, [])
    for log in logs:
        number = int(log["blockNumber"], 16)
        block, stamp = blocks.get(number), log.get("blockTimestamp")
        if stamp is None and block is not None:
            stamp = block.timestamp
        if reader.is_reveal(log):
            # The contract reveals any number at all; most of them are no ids, and fit no column.
            ids = (token_id for token_id in revealed_ids(log) if token_id <= LARGEST_ID)
            found.reveals.update(dict.fromkeys(ids, _reveal_log(log, stamp)))
            continue
        try:
            found.mints.append(decode_mint_log({**log, "blockTimestamp": stamp}))
        except MalformedLog as error:
            found.malformed.append(f"block {number}: {error}")
    if found.malformed:
        logger.error("chain_logs_malformed", reasons=found.malformed[:10])
    return found


def _reveal_log(log: RawLog, stamp: object) -> RevealLog:
    tx_hash = log.get("transactionHash")
    try:
        revealed_at = read_timestamp(stamp)
    except MalformedLog:
        revealed_at = None
    return RevealLog(tx_hash.lower() if is_hash(tx_hash) else None, revealed_at)


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
    if not found.reveals:
        return
    name_transactions(
        {i: (log.tx_hash, log.revealed_at) for i, log in found.reveals.items() if log.tx_hash}
    )
    others = adoptable(found.reveals)
    if others:
        facts = revealed_facts(reader, sorted(others))
        report.adopted += sorted(adopt(facts, actor=ACTOR, logs=found.reveals))


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
    report.adopted += sorted(adopt(fresh, actor=ACTOR, logs=reveals))
    deep = head - settled_depth() + 1
    settled = [
        outcome.mint_event_id
        for outcome in outcomes
        if outcome.mint_event_id is not None
        and outcome.log.block_number <= deep
        and outcome.result not in DOUBTFUL
    ]
    if settled:
        MintEvent.objects.filter(pk__in=settled).settle()
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

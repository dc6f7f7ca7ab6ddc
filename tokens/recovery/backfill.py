"""Register what the chain's logs tell: mints, and reveals of tokens that are not ours.

Each range is registered and its end stored before the next is asked for, so a backfill that is
interrupted goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from django.conf import settings
from django.db import transaction

from glisk.clients.chain import ChainClient, OnChainToken, RawLog, revealed_ids
from glisk.errors import AccountError, ProviderError, TransientError
from tokens.minting.mint_log import (
    LARGEST_ID,
    MalformedLog,
    MintLog,
    decode_mint_log,
    read_hash,
    read_timestamp,
)
from tokens.minting.registration import DOUBTFUL, MintOutcome, MintResult, register_mints
from tokens.models import MintEvent
from tokens.models.mint import MintSource
from tokens.recovery.adoption import RevealLog, adopt, adoptable, revealed_facts, unknown_ids
from tokens.recovery.logs import RangeWalker
from tokens.recovery.progress import Progress, save_progress
from tokens.transitions.chain import name_transactions

logger = structlog.get_logger(__name__)

ACTOR = "backfill"
MINTS_AT_ONCE = 1_000  # in one transaction
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


class Found(NamedTuple):
    """What raw logs say, and why some of them could not be read."""

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
    until: float = math.inf,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
    dry_run: bool = False,
) -> None:
    """Register every mint from block `first` to `last`, both included.

    `keep_progress` stores the end of each range, which is right only if everything before
    `first` has been read. `only_ids`: only mints with one of these tokens. `until`: end in order
    after this moment of the monotonic clock. `dry_run`: write nothing, count what would be
    created. Raises what the reader raises; `report` holds what was done until then.
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
        on_progress(report.blocks, last - first + 1)
    report.ended_early = walker.ended_early


def backfill_if_given(
    reader: ChainClient, *, first: int, last: int, report: Report, **options: Any
) -> ProviderError | None:
    """Do so, or return why the node does not give the logs of just these blocks."""
    try:
        backfill(reader, first=first, last=last, report=report, **options)
    except (TransientError, AccountError):
        raise
    except ProviderError as error:
        logger.warning("logs_unread", first=first, last=last, error=str(error))
        return error
    return None


def decode_logs(reader: ChainClient, logs: Sequence[RawLog]) -> Found:
    # One batch asks for the blocks whose logs do not tell their time.
    untimed = {int(log["blockNumber"], 16) for log in logs if log.get("blockTimestamp") is None}
    blocks = reader.blocks(untimed) if untimed else {}
    found = Found([], {}, [])
    for told in logs:
        number = int(told["blockNumber"], 16)
        block = blocks.get(number)
        log = {**told, "blockTimestamp": block.timestamp} if block else told
        try:
            if reader.is_reveal(log):
                reveal = RevealLog(
                    read_hash(log.get("transactionHash"), "transaction hash"),
                    read_timestamp(log.get("blockTimestamp")),
                )
                # The contract reveals any number at all; most are no ids, and fit no column.
                found.reveals.update({i: reveal for i in revealed_ids(log) if i <= LARGEST_ID})
            else:
                found.mints.append(decode_mint_log(log))
        except MalformedLog as error:
            found.malformed.append(f"block {number}: {error}")
    if found.malformed:
        logger.error("chain_logs_malformed", reasons=found.malformed[:10])
    return found


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
    mints, reveals, malformed = decode_logs(reader, logs)
    report.malformed += malformed
    if only_ids is not None:
        mints = [mint for mint in mints if not set(only_ids).isdisjoint(mint.token_ids)]
    for start in range(0, len(mints), MINTS_AT_ONCE):
        part = mints[start : start + MINTS_AT_ONCE]
        new = unknown_ids(token_id for mint in part for token_id in mint.token_ids)
        revealed = revealed_facts(reader, new)
        with transaction.atomic():
            register_found(part, revealed, reveals, report, head=head)
    if not reveals:
        return
    name_transactions(reveals)
    facts = revealed_facts(reader, sorted(adoptable(reveals)))
    report.adopted += sorted(adopt(facts, actor=ACTOR, logs=reveals))


def register_found(
    mints: Sequence[MintLog],
    revealed: Mapping[int, OnChainToken],
    reveals: Mapping[int, RevealLog],
    report: Report,
    *,
    head: int,
) -> None:
    """Register mints that the chain holds now; within the caller's transaction."""
    outcomes = register_mints(mints, source=MintSource.BACKFILL, actor=ACTOR)
    created = {token_id for outcome in outcomes for token_id in outcome.created}
    fresh = {token_id: facts for token_id, facts in revealed.items() if token_id in created}
    report.adopted += sorted(adopt(fresh, actor=ACTOR, logs=reveals))
    deep = head - settled_depth() + 1
    MintEvent.objects.filter(
        pk__in=[
            outcome.mint_event_id
            for outcome in outcomes
            if outcome.result not in DOUBTFUL and outcome.log.block_number <= deep
        ]
    ).settle()
    report.logs += len(outcomes)
    report.created += len(created)
    report.completed += sum(len(outcome.completed) for outcome in outcomes)
    report.conflicts += [o for o in outcomes if o.result is MintResult.CONFLICT]
    report.reorged += [o for o in outcomes if o.result is MintResult.REORGED]

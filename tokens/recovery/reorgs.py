"""When a block of ours is no longer part of the chain: follow the mint, or give it up.

A changed hash at a mint's height says that something happened, not what. The transaction's
receipt does: mined again with the same tokens, the mint moves to its new block; in no block, or
with other tokens, it is gone. One answer of one node is not enough for that: the mint must still
be gone some blocks later, and nothing new begins for its tokens until then. A node that lags
knows no block at that height, or the old one, and so never causes a withdrawal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from django.db import transaction

from glisk.clients.log_ranges import RangeTooWideError
from glisk.clients.mint_reader import MintReader, OnChainToken, Survey
from glisk.errors import AccountError, ProviderError, TransientError
from tokens.minting.mint_log import MintLog
from tokens.models import MintEvent
from tokens.recovery.adoption import revealed_facts
from tokens.recovery.backfill import Report, decode_logs, register_found
from tokens.recovery.gaps import block_bounds
from tokens.recovery.progress import Memory, save_memory
from tokens.recovery.ranges import RangeWalker
from tokens.recovery.tracking import Tracked, mints_of_receipts, move_mints, track
from tokens.recovery.unsettled import LogKey, judge, mark_settled, spans
from tokens.recovery.withdrawal import lock_mints, retire_mint
from tokens.transitions.delays import delay_mints

logger = structlog.get_logger(__name__)

# A mint counts as gone if it is still missing so many blocks after it was first missed; or so
# many seconds, on a chain that makes blocks only when there is something to put into them.
PATIENCE_BLOCKS = 2
PATIENCE_SECONDS = 15.0
HOLD_SECONDS = 30.0
# Nothing older than this is read for the successors of a mint: no reorg goes deeper.
DEEPEST_REORG_BLOCKS = 128


@dataclass
class ReorgReport:
    """Transactions, by what became of their mints."""

    moved: list[str] = field(default_factory=list)  # found in another block
    suspected: list[str] = field(default_factory=list)  # gone, but not for long enough
    retired: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # gone, but a reveal is under way
    created: int = 0  # tokens of the mints that took their place


def settle_mints(
    reader: MintReader, survey: Survey, watched: Sequence[MintEvent], memory: Memory
) -> ReorgReport:
    """Settle what is deep enough; follow or give up what the chain does not hold as we do."""
    report = ReorgReport()
    settled, ripe, doubtful = judge(survey, watched)
    if ripe:
        held = _own_reading(reader, ripe)
        for event in ripe:
            log = held.get((event.tx_hash, event.log_index, event.block_hash))
            (settled if log and log.facts == event.facts else doubtful).append(event)
    mark_settled(settled)
    tracked = track(reader, doubtful) if doubtful else Tracked()
    if tracked.moved:
        report.moved += [log.tx_hash for log in move_mints(tracked.moved)]
    before = dict(memory.suspects)
    due = _due(tracked.gone, survey, memory, report)
    if due:
        _replace(reader, survey, due, memory, report)
    if memory.suspects != before or due:
        save_memory(memory)
    return report


def _own_reading(reader: MintReader, events: Sequence[MintEvent]) -> dict[LogKey, MintLog]:
    """Read what the chain holds of mints that a webhook told of, in one round trip."""
    return {(mint.tx_hash, mint.log_index, mint.block_hash): mint for mint in _read(reader, events)}


def _read(reader: MintReader, events: Sequence[MintEvent]) -> Iterable[MintLog]:
    try:
        try:
            answers = reader.logs_of_spans(spans(events))
        except RangeTooWideError:
            answers = reader.logs_of_spans(spans(events, blocks=1))
    except (TransientError, AccountError):
        raise
    except ProviderError as error:
        # A node that gives no logs, or none of these blocks, may give the receipts.
        logger.warning("settled_by_receipts", mints=len(events), error=str(error))
        receipts = reader.receipts(event.tx_hash for event in events)
        return mints_of_receipts(reader, receipts.values()).values()
    return [mint for logs in answers for mint in decode_logs(reader, logs).mints]


def _due(
    gone: Sequence[MintEvent], survey: Survey, memory: Memory, report: ReorgReport
) -> list[MintEvent]:
    """Return the mints that have been gone for long enough; remember the others, hold them all."""
    head, now = survey.head.number, time.time()
    first_missed = {
        str(event.pk): memory.suspects.get(str(event.pk), (head, now)) for event in gone
    }
    due = []
    for event in gone:
        since_head, since = first_missed[str(event.pk)]
        if head - since_head >= PATIENCE_BLOCKS or now - since >= PATIENCE_SECONDS:
            due.append(event)
        else:
            report.suspected.append(event.tx_hash)
            if str(event.pk) not in memory.suspects:
                logger.warning("mint_missed", tx_hash=event.tx_hash, block=event.block_number)
    memory.suspects = first_missed
    delay_mints([event.pk for event in gone], seconds=HOLD_SECONDS)
    return due


def _replace(
    reader: MintReader,
    survey: Survey,
    due: Sequence[MintEvent],
    memory: Memory,
    report: ReorgReport,
) -> None:
    """Give up mints that are gone, and register what the chain has in their place."""
    mints = _successors(reader, survey, due)
    owners = {token_id: mint for mint in mints for token_id in mint.token_ids}
    facts = reader.tokens(sorted({i for event in due for i in event.token_ids}))
    sure = [event for event in due if _is_sure(event, owners, facts)]
    report.suspected += [event.tx_hash for event in due if event not in sure]
    if not sure:
        return
    affected = {token_id for event in sure for token_id in event.token_ids}
    mints = [mint for mint in mints if not affected.isdisjoint(mint.token_ids)]
    revealed = revealed_facts(reader, sorted({i for mint in mints for i in mint.token_ids}))
    on_chain = {token_id for token_id, token in facts.items() if token.revealed}
    found = Report()
    with transaction.atomic():
        lock_mints()
        for event in sure:
            key = str(event.pk)
            if retire_mint(event, owners, on_chain):
                report.retired.append(event.tx_hash)
                memory.suspects.pop(key, None)
            else:
                report.waiting.append(event.tx_hash)
        register_found(mints, revealed, {}, found, head=survey.head.number)
    memory.known_below = min(memory.known_below, *affected)
    memory.tiled_below = min(memory.tiled_below, *affected)
    report.created += found.created


def _is_sure(
    event: MintEvent, owners: Mapping[int, MintLog], facts: Mapping[int, OnChainToken]
) -> bool:
    """Tell whether logs and contract agree about the tokens of a mint that is gone.

    Where the contract knows a token, but no log tells whose mint it is, or another author's than
    the log says, the node contradicts itself: it is asked again at the next look.
    """
    for token_id in event.token_ids:
        owner, token = owners.get(token_id), facts[token_id]
        agrees = (
            token.prompt_author == owner.prompt_author.lower() and token.exists
            if owner
            else not token.exists
        )
        if not agrees:
            logger.warning("node_contradicts_itself", tx_hash=event.tx_hash, token_id=token_id)
            return False
    return True


def _successors(reader: MintReader, survey: Survey, due: Sequence[MintEvent]) -> list[MintLog]:
    """Read the mints that the chain has where those of the gone ones must be."""
    head = survey.head.number
    bounds = block_bounds(
        [(event.start_token_id, event.token_ids[-1]) for event in due],
        head=head,
        without=[event.pk for event in due],
    )
    deepest = min(event.block_number for event in due) - DEEPEST_REORG_BLOCKS
    first = max(0, deepest, min(low for low, _ in bounds))
    last = max(high for _, high in bounds)
    walker = RangeWalker(reader, head=head)
    return [
        mint
        for _, _, logs in walker.walk(min(first, last), last)
        for mint in decode_logs(reader, logs).mints
    ]

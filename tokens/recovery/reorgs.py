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
from datetime import timedelta
from itertools import groupby

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from glisk.clients.chain import ChainClient, OnChainToken, Survey
from glisk.timing import timing
from tokens.minting.mint_log import MintLog
from tokens.models import MintEvent
from tokens.models.mint import MintSource
from tokens.recovery.adoption import revealed_facts
from tokens.recovery.backfill import Report, decode_logs, register_found, settled_depth
from tokens.recovery.gaps import block_bounds
from tokens.recovery.logs import RangeWalker
from tokens.recovery.progress import Memory, save_memory
from tokens.recovery.withdrawal import lock_mints, retire_mint
from tokens.transitions.chain import change_mint, take_mint_times
from tokens.transitions.claims import delay_mints

logger = structlog.get_logger(__name__)

# A mint counts as gone if it is still missing so many blocks after it was first missed; or so
# many seconds, on a chain that makes blocks only when there is something to put into them.
PATIENCE_BLOCKS = 2
HOLD_SECONDS = 30.0
# Nothing older than this is read for the successors of a mint: no reorg goes deeper.
DEEPEST_REORG_BLOCKS = 128
# Added to log indexes while mints of one transaction change places: both are unique together.
_ASIDE = 1_000_000_000
# A block above the head of our node: after so long, the node is not late, the block is not real.
_UNHEARD_OF = timedelta(minutes=2)


@dataclass
class ReorgReport:
    """Transactions, by what became of their mints."""

    moved: list[str] = field(default_factory=list)  # found in another block
    suspected: list[str] = field(default_factory=list)  # gone, but not for long enough
    retired: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # gone, but a reveal is under way
    created: int = 0  # tokens of the mints that took their place


def settle_mints(
    reader: ChainClient, survey: Survey, watched: Sequence[MintEvent], memory: Memory
) -> ReorgReport:
    """Settle what is deep enough; follow or give up what the chain does not hold as we do."""
    report, before = ReorgReport(), dict(memory.suspects)
    settled, ripe, doubtful = _judge(survey, watched)
    MintEvent.objects.filter(pk__in=settled).settle()  # whatever becomes of the others
    held, moved, gone = track(reader, [*ripe, *doubtful])
    MintEvent.objects.filter(pk__in=held.intersection(event.pk for event in ripe)).settle()
    for tx_hash, own in groupby(moved, key=lambda move: move[0].tx_hash):
        try:
            report.moved += [tx_hash] * _move(list(own))
        except IntegrityError:  # a mint's place is taken for the moment
            logger.warning("mint_not_moved", tx_hash=tx_hash)
    due = _due(gone, survey, memory, report)
    if due:
        _replace(reader, survey, due, memory, report)
    if memory.suspects != before or due:
        save_memory(memory)
    return report


def _judge(
    survey: Survey, mints: Iterable[MintEvent]
) -> tuple[list[int], list[MintEvent], list[MintEvent]]:
    """Return the ids of settled mints, those that only need their log read, and the doubtful.

    A block that the node does not know proves nothing: it lags.
    """
    settled: list[int] = []
    ripe: list[MintEvent] = []
    doubtful: list[MintEvent] = []
    for mint in mints:
        block = survey.blocks.get(mint.block_number)
        if block is None:
            above = mint.block_number > survey.head.number
            if above and mint.created_at < timezone.now() - _UNHEARD_OF:
                doubtful.append(mint)
        elif block.block_hash != mint.block_hash:
            doubtful.append(mint)
        elif survey.head.number - mint.block_number + 1 >= settled_depth():
            if mint.source == MintSource.BACKFILL:
                settled.append(mint.pk)
            else:
                ripe.append(mint)
    return settled, ripe, doubtful


def _due(
    gone: Sequence[MintEvent], survey: Survey, memory: Memory, report: ReorgReport
) -> list[MintEvent]:
    """Return the mints that have been gone for long enough; remember the others, hold them all."""
    head, now, known = survey.head.number, time.time(), memory.suspects
    memory.suspects = {str(event.pk): known.get(str(event.pk), (head, now)) for event in gone}
    due = []
    for event in gone:
        since_head, since = memory.suspects[str(event.pk)]
        if head - since_head >= PATIENCE_BLOCKS or now - since >= timing.reorg_patience:
            due.append(event)
        else:
            report.suspected.append(event.tx_hash)
            if str(event.pk) not in known:
                logger.warning("mint_missed", tx_hash=event.tx_hash, block=event.block_number)
    delay_mints([event.pk for event in gone], seconds=HOLD_SECONDS)
    return due


def _replace(
    reader: ChainClient,
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


def _successors(reader: ChainClient, survey: Survey, due: Sequence[MintEvent]) -> list[MintLog]:
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


def track(
    reader: ChainClient, asked: Sequence[MintEvent]
) -> tuple[set[int], list[tuple[MintEvent, MintLog]], list[MintEvent]]:
    """Return which mints stand where they stood, which in another block now, and which in none.

    All mints of a transaction share its fate, whichever was asked about; its receipt tells.
    """
    held: set[int] = set()  # their mint events
    moved: list[tuple[MintEvent, MintLog]] = []
    gone: list[MintEvent] = []
    hashes = {event.tx_hash for event in asked}
    receipts = reader.receipts(hashes) if hashes else {}
    raw = [
        log
        for receipt in receipts.values()
        if receipt is not None and receipt.succeeded
        for log in receipt.logs
        if reader.is_mint(log) and isinstance(log.get("blockNumber"), str)
    ]
    logs = {(mint.tx_hash, mint.facts): mint for mint in decode_logs(reader, raw).mints}
    for event in MintEvent.objects.filter(tx_hash__in=hashes).order_by("tx_hash", "start_token_id"):
        receipt = receipts[event.tx_hash]
        log = logs.get((event.tx_hash, event.facts))
        if log is not None:
            if (log.block_hash, log.log_index) == (event.block_hash, event.log_index):
                held.add(event.pk)
            else:
                moved.append((event, log))
        elif receipt and receipt.block_hash == event.block_hash:
            # No reorg took it: the transaction stands where it stood, without this log. Perhaps
            # the contract's address was changed; nothing may be withdrawn for that.
            logger.error("mint_not_in_its_transaction", tx_hash=event.tx_hash)
        else:
            gone.append(event)
    return held, moved, gone


@transaction.atomic
def _move(moves: Sequence[tuple[MintEvent, MintLog]]) -> int:
    """Give the mints of one transaction, and their tokens, their new blocks; return how many."""
    ids = [event.pk for event, _ in moves]
    tx_hash = moves[0][1].tx_hash
    others = MintEvent.objects.filter(tx_hash=tx_hash).exclude(pk__in=ids).select_for_update()
    here = {(event.log_index, event.block_hash): event for event in others}
    MintEvent.objects.filter(pk__in=ids).update(log_index=F("log_index") + _ASIDE)
    for event, log in moves:
        # Two deliveries at once may have stored one mint twice.
        twin = here.setdefault((log.log_index, log.block_hash), event)
        if twin is not event:
            change_mint(event, twin, minted_at=log.block_timestamp)
            event.delete()
            continue
        MintEvent.objects.filter(pk=event.pk).update(
            log_index=log.log_index,
            block_number=log.block_number,
            block_hash=log.block_hash,
            block_timestamp=log.block_timestamp,
            settled_at=None,
        )
        logger.warning("mint_moved", tx_hash=tx_hash, block_number=log.block_number)
    take_mint_times(ids)
    return len(moves)

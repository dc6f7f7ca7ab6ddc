"""When a block of ours is no longer part of the chain: follow the mint, or give it up.

A changed hash at a mint's height says that something happened, not what. The transaction's
receipt does: mined again with the same tokens, the mint moves to its new block; in no block, or
with other tokens, it is gone. One answer of one node is not enough for that: the mint must still
be gone some blocks later, and nothing new begins for its tokens until then. A node that lags
knows no block at that height, or the old one, and so never causes a withdrawal.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from django.db import IntegrityError, connection, transaction

from glisk.clients.chain import (
    ChainClient,
    OnChainToken,
    RangeTooWideError,
    RawLog,
    Receipt,
    Survey,
)
from glisk.errors import AccountError, ProviderError, TransientError
from tokens.minting.mint_log import MalformedLog, MintLog, decode_rpc_mint_log
from tokens.models import MintEvent
from tokens.recovery.adoption import revealed_facts
from tokens.recovery.backfill import Report, block_times, decode_logs, register_found
from tokens.recovery.confirmations import LogKey, judge, mark_settled, spans
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
PATIENCE_SECONDS = 15.0
HOLD_SECONDS = 30.0
# Nothing older than this is read for the successors of a mint: no reorg goes deeper.
DEEPEST_REORG_BLOCKS = 128
# Added to log indexes while mints of one transaction change places: both are unique together.
_ASIDE = 1_000_000_000


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


def _own_reading(reader: ChainClient, events: Sequence[MintEvent]) -> dict[LogKey, MintLog]:
    """Read what the chain holds of mints that a webhook told of, in one round trip."""
    return {(mint.tx_hash, mint.log_index, mint.block_hash): mint for mint in _read(reader, events)}


def _read(reader: ChainClient, events: Sequence[MintEvent]) -> Iterable[MintLog]:
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


@dataclass
class Tracked:
    moved: list[tuple[MintEvent, MintLog]] = field(default_factory=list)
    gone: list[MintEvent] = field(default_factory=list)


def track(reader: ChainClient, doubtful: Sequence[MintEvent]) -> Tracked:
    """Return which mints stand in another block now, and which in none.

    All mints of a transaction share its fate, whichever was in doubt.
    """
    hashes = {event.tx_hash for event in doubtful}
    receipts = reader.receipts(hashes)
    logs = mints_of_receipts(reader, receipts.values())
    tracked = Tracked()
    for event in MintEvent.objects.filter(tx_hash__in=hashes).order_by("start_token_id"):
        receipt = receipts[event.tx_hash]
        log = logs.get((event.tx_hash, event.facts))
        if log is not None:
            if (log.block_hash, log.log_index) != (event.block_hash, event.log_index):
                tracked.moved.append((event, log))
        elif receipt and receipt.block_hash == event.block_hash:
            # No reorg took it: the transaction stands where it stood, without this log. Perhaps
            # the contract's address was changed; nothing may be withdrawn for that.
            logger.error("mint_not_in_its_transaction", tx_hash=event.tx_hash)
        else:
            tracked.gone.append(event)
    return tracked


def mints_of_receipts(
    reader: ChainClient, receipts: Iterable[Receipt | None]
) -> dict[tuple[str, tuple[str, str, int, int]], MintLog]:
    """Return the mints that receipts hold, by transaction and facts."""
    raw: list[RawLog] = [
        log
        for receipt in receipts
        if receipt is not None and receipt.succeeded
        for log in receipt.logs
        if reader.is_mint(log) and isinstance(log.get("blockNumber"), str)
    ]
    times: Mapping[int, int] = block_times(reader, raw)
    found = {}
    for log in raw:
        number = int(log["blockNumber"], 16)
        with contextlib.suppress(MalformedLog):  # then its mint counts as gone
            mint = decode_rpc_mint_log(log, block_timestamp=times.get(number))
            found[mint.tx_hash, mint.facts] = mint
    return found


def move_mints(moves: Sequence[tuple[MintEvent, MintLog]]) -> list[MintLog]:
    """Give mints, and their tokens, the blocks that they are in now; return those that moved.

    Where a mint's place is taken for the moment, it stays where it is.
    """
    try:
        _move(moves)
        return [log for _, log in moves]
    except IntegrityError:
        moved = []
    for tx_hash in sorted({log.tx_hash for _, log in moves}):
        own = [(event, log) for event, log in moves if log.tx_hash == tx_hash]
        try:
            _move(own)
            moved += [log for _, log in own]
        except IntegrityError:
            logger.warning("mint_not_moved", tx_hash=tx_hash)
    return moved


@transaction.atomic
def _move(moves: Sequence[tuple[MintEvent, MintLog]]) -> None:
    ids = [event.pk for event, _ in moves]
    here = {
        (event.tx_hash, event.log_index, event.block_hash): event
        for event in MintEvent.objects.filter(tx_hash__in={log.tx_hash for _, log in moves})
        .exclude(pk__in=ids)
        .select_for_update()
    }
    kept = []
    for event, log in moves:
        # Two deliveries at once may have stored one mint twice.
        twin = here.setdefault((log.tx_hash, log.log_index, log.block_hash), event)
        if twin is event:
            kept.append((event, log))
        else:
            change_mint(event, twin, minted_at=log.block_timestamp)
            event.delete()
    _write([event.pk for event, _ in kept], [log for _, log in kept])


def _write(ids: list[int], logs: list[MintLog]) -> None:
    columns = [
        [getattr(log, name) for log in logs]
        for name in ("log_index", "block_number", "block_hash", "block_timestamp")
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mint_events SET log_index = log_index + %s WHERE id = ANY(%s)", [_ASIDE, ids]
        )
        cursor.execute(
            "UPDATE mint_events m SET log_index = v.log_index, block_number = v.block_number, "
            "block_hash = v.block_hash, block_timestamp = v.mined_at, settled_at = NULL "
            "FROM unnest(%s::bigint[], %s::integer[], %s::bigint[], %s::text[], %s::timestamptz[]) "
            "AS v(id, log_index, block_number, block_hash, mined_at) WHERE m.id = v.id",
            [ids, *columns],
        )
    take_mint_times(ids)
    for log in logs:
        logger.warning("mint_moved", tx_hash=log.tx_hash, block_number=log.block_number)

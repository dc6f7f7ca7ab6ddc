"""Find out by their receipts what became of mints whose block is in doubt."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import IntegrityError, connection, transaction

from glisk.clients.mint_reader import MintReader, RawLog
from tokens.minting.mint_log import MalformedLog, MintLog, decode_rpc_mint_log
from tokens.models import MintEvent
from tokens.recovery.backfill import block_times
from tokens.transitions.creation import change_mint, take_mint_times

logger = structlog.get_logger(__name__)

# Added to log indexes while mints of one transaction change places: both are unique together.
_ASIDE = 1_000_000_000


@dataclass
class Tracked:
    moved: list[tuple[MintEvent, MintLog]] = field(default_factory=list)
    gone: list[MintEvent] = field(default_factory=list)


def track(reader: MintReader, doubtful: Sequence[MintEvent]) -> Tracked:
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
        elif receipt and str(receipt.get("blockHash")).lower() == event.block_hash:
            # No reorg took it: the transaction stands where it stood, without this log. Perhaps
            # the contract's address was changed; nothing may be withdrawn for that.
            logger.error("mint_not_in_its_transaction", tx_hash=event.tx_hash)
        else:
            tracked.gone.append(event)
    return tracked


def mints_of_receipts(
    reader: MintReader, receipts: Iterable[dict[str, Any] | None]
) -> dict[tuple[str, tuple[str, str, int, int]], MintLog]:
    """Return the mints that receipts hold, by transaction and facts."""
    raw: list[RawLog] = [
        log
        for receipt in receipts
        if receipt is not None and receipt.get("status") != "0x0"
        for log in receipt.get("logs") or []
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

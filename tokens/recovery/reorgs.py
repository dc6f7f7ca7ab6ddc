"""When a block of ours is no longer part of the chain: follow the mint, or withdraw it.

A changed hash at a mint's height says that something happened, not what. The transaction's
receipt does: mined again in another block, the mint moves there with its tokens; in no block, and
its tokens unknown to the contract, it is gone. One answer of one node is not enough for that: the
mint must still be gone some blocks later. A node that lags knows no block at that height, or the
old one, and so can never cause a withdrawal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction

from glisk.clients.mint_reader import BlockFacts, MintReader, Survey
from glisk.models import SystemState
from tokens.mint_log import BATCH_MINTED_TOPIC, MalformedLog, MintLog, decode_rpc_mint_log
from tokens.models import MintEvent
from tokens.recovery.progress import load_progress, rewind_progress
from tokens.recovery.withdrawal import withdraw_mint

logger = structlog.get_logger(__name__)

# Mints are watched for this many blocks beyond MINT_CONFIRMATIONS. On Base only reorgs of one
# block have been seen; the reveal's gate checks the hash once more whatever the depth.
WATCHED_BLOCKS = 12
# A mint counts as gone only if it still is this many blocks after it was first missed.
PATIENCE_BLOCKS = 2
SUSPECTS_KEY = "reorg_suspects"


@dataclass
class ReorgReport:
    moved: list[str] = field(default_factory=list)  # transactions found in another block
    suspected: list[str] = field(default_factory=list)  # gone, but not for long enough
    withdrawn: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # gone, but in flight or revealed


def unsettled_blocks() -> list[int]:
    """Return the heights whose hashes have to be looked at: recent mints, and suspects."""
    head = load_progress().head
    if head is None:
        return []
    first = head - settings.MINT_CONFIRMATIONS - WATCHED_BLOCKS
    recent = MintEvent.objects.filter(block_number__gt=first).values_list("block_number", flat=True)
    suspected = MintEvent.objects.filter(pk__in=[int(key) for key in _suspects()]).values_list(
        "block_number", flat=True
    )
    return sorted({*recent.distinct(), *suspected})


def settle_changed_blocks(reader: MintReader, survey: Survey) -> ReorgReport:
    """Find mints whose block has another hash now, and do what their receipts say."""
    report = ReorgReport()
    changed = _changed(survey)
    if not changed:
        if _suspects():
            _save_suspects({})
        return report
    receipts = reader.receipts(sorted({event.tx_hash for event in changed}))
    gone: list[MintEvent] = []
    for event in changed:
        receipt = receipts[event.tx_hash]
        if receipt is None:
            gone.append(event)
        elif _move(reader, event, receipt):
            report.moved.append(event.tx_hash)
    _settle_gone(reader, survey, gone, report)
    if report.moved or report.withdrawn:
        rewind_progress(min(event.block_number for event in changed) - 1)
    return report


def _changed(survey: Survey) -> list[MintEvent]:
    known: dict[int, BlockFacts] = {n: b for n, b in survey.blocks.items() if b is not None}
    events = MintEvent.objects.filter(block_number__in=list(known)).order_by("start_token_id")
    return [event for event in events if known[event.block_number].block_hash != event.block_hash]


def _move(reader: MintReader, event: MintEvent, receipt: dict[str, Any]) -> bool:
    """Give the event the block that its transaction is in now; return whether it changed."""
    new = _log_of(reader, event, receipt)
    if new is None:
        logger.error("mint_receipt_without_log", tx_hash=event.tx_hash)
        return False
    if (new.block_hash, new.log_index) == (event.block_hash, event.log_index):
        return False  # the chain came back to where we thought it was
    same_tokens = (new.start_token_id, new.quantity) == (event.start_token_id, event.quantity)
    if not same_tokens:
        # Mined in another order: the ids are others'. The rewound scan registers them anew.
        return withdraw_mint(event, reason=f"its transaction mints from {new.start_token_id} now")
    with transaction.atomic():
        # A scan or a webhook may have stored the same log under its new index already.
        twin = MintEvent.objects.filter(tx_hash=new.tx_hash, log_index=new.log_index)
        for other in twin.exclude(pk=event.pk):
            other.tokens.update(mint_event=event)
            other.delete()
        MintEvent.objects.filter(pk=event.pk).update(
            log_index=new.log_index,
            block_number=new.block_number,
            block_hash=new.block_hash,
            block_timestamp=new.block_timestamp,
        )
        event.tokens.update(mint_timestamp=new.block_timestamp)
    logger.warning("mint_moved", tx_hash=event.tx_hash, block_number=new.block_number)
    return True


def _log_of(reader: MintReader, event: MintEvent, receipt: dict[str, Any]) -> MintLog | None:
    """Return the log of a receipt that is this mint's: by its index among the mints in it."""
    logs = [
        log
        for log in receipt.get("logs") or []
        if isinstance(log, dict)
        and str(log.get("address", "")).lower() == reader.contract_address.lower()
        and (log.get("topics") or [None])[0] == BATCH_MINTED_TOPIC
    ]
    earlier = MintEvent.objects.filter(tx_hash=event.tx_hash, log_index__lt=event.log_index)
    position = earlier.count()
    if position >= len(logs):
        return None
    try:
        number = int(str(receipt.get("blockNumber")), 16)
        block = reader.blocks([number])[number]
        if block is None:
            return None
        return decode_rpc_mint_log(logs[position], block_timestamp=block.timestamp)
    except (MalformedLog, ValueError):
        return None


def _settle_gone(
    reader: MintReader, survey: Survey, gone: Sequence[MintEvent], report: ReorgReport
) -> None:
    """Withdraw mints that have been gone for long enough; remember the others."""
    before, now = _suspects(), {}
    for event in gone:
        if _still_minted(reader, event):
            continue  # the node contradicts itself: it knows the tokens but not the receipt
        since = before.get(str(event.pk), survey.head.number)
        if survey.head.number - since < PATIENCE_BLOCKS:
            now[str(event.pk)] = since
            report.suspected.append(event.tx_hash)
        elif withdraw_mint(event, reason="a reorg took its mint away"):
            report.withdrawn.append(event.tx_hash)
        else:
            now[str(event.pk)] = since
            report.kept.append(event.tx_hash)
    if now != before:
        _save_suspects(now)


def _still_minted(reader: MintReader, event: MintEvent) -> bool:
    """Tell whether the contract has the tokens with this very author and minter."""
    facts = reader.tokens(list(event.token_ids))
    return all(
        token.exists
        and token.prompt_author.lower() == event.prompt_author.lower()
        and token.owner.lower() == event.minter.lower()
        for token in facts.values()
    )


def _suspects() -> dict[str, int]:
    """Return the mints that seem gone: event id → the head at which that was first seen."""
    row = SystemState.objects.filter(state_key=SUSPECTS_KEY).values_list("state_value", flat=True)
    return dict(row.first() or {})


def _save_suspects(suspects: dict[str, int]) -> None:
    SystemState.objects.update_or_create(state_key=SUSPECTS_KEY, defaults={"state_value": suspects})

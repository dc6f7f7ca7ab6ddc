"""The thorough look of every few minutes: gaps, tiling, and what can differ from the contract.

Tokens without a mint take the one that covers their id, give way to it, or are withdrawn: they were
taken from the contract without a log, or revealed for a mint that a reorg took.
"""

from __future__ import annotations

import time
from dataclasses import fields
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import QuerySet

from glisk.clients.chain import ChainClient, Survey
from glisk.clock import database_now
from tokens.minting.mint_log import MintLog
from tokens.minting.registration import register_mints
from tokens.models import MintEvent, Token
from tokens.models.mint import MintSource
from tokens.recovery import withdrawal
from tokens.recovery.adoption import adopt, revealed_facts
from tokens.recovery.backfill import Report
from tokens.recovery.drift import Tiling, check_some, prove_tiling, settled_proof
from tokens.recovery.gaps import fill_gaps, read_around
from tokens.recovery.progress import (
    Memory,
    is_worth_trying,
    load,
    save_memory,
    wait_before_trying,
)
from tokens.recovery.reorgs import PATIENCE_BLOCKS
from tokens.recovery.scan import scan_chain
from tokens.recovery.withdrawal import give_up, lock_mints, withdraw
from tokens.registry import in_flight
from tokens.states import ACTIVE, TokenStatus

logger = structlog.get_logger(__name__)

ACTOR = "proof"
# Each costs calls to the node: few of the old ones, all of the new ones up to a limit.
OLD_ONES = 10
_NEW_ONES = 200
_ON_THEIR_WAY = 500
_SURE_AFTER = timedelta(minutes=30)
_LONGEST_RETRY_SECONDS = 6 * 3600.0
_AT_ONCE = 200


def prove(reader: ChainClient, *, budget_seconds: float) -> int:
    """Mend what is missing or differs; return how many tokens it was. Raises as the reader."""
    until = time.monotonic() + budget_seconds
    # The gate turned their tokens away: it found the block outside the chain, or the token unknown.
    refused = Token.objects.filter(status="ready", error_class__in=["reorged", "not_minted"])
    MintEvent.objects.filter(tokens__in=refused).unsettle()
    look = scan_chain(reader, budget_seconds=budget_seconds)
    if look.lagging or look.ended_early:
        return look.created
    survey = reader.survey()
    if survey.head.number < look.head:
        return look.created  # this time another node answered, which is behind
    gaps = fill_gaps(reader, survey=survey, until=until)
    memory = load()[1]
    tiling = prove_tiling(survey.next_token_id, known_below=memory.tiled_below)
    completed = _mend_tiling(reader, survey, tiling, memory, until)
    orphans = settle_orphans() + withdraw_unknown(survey, memory)
    memory.tiled_below = max(memory.tiled_below, settled_proof(tiling))
    active = Token.objects.filter(status__in=ACTIVE).order_by("mint_timestamp")
    on_their_way = list(active.values_list("token_id", flat=True)[:_ON_THEIR_WAY])
    adopted = adopt(revealed_facts(reader, on_their_way), actor=ACTOR)
    token_ids = [*_revealed_half_an_hour_ago(memory), *_next_window(memory)]
    save_memory(memory)  # before the drift check withdraws anything, which it must not undo
    drift = check_some(reader, survey, token_ids=token_ids, proven_below=memory.tiled_below)
    repaired = sum(finding.repaired for finding in drift.findings)
    return look.created + gaps.created + completed + orphans + len(adopted) + repaired


def _mend_tiling(
    reader: ChainClient, survey: Survey, tiling: Tiling, memory: Memory, until: float
) -> int:
    """Read the blocks again where mint events are missing; return how many tokens got theirs."""
    for first, last in tiling.overlaps:
        MintEvent.objects.claiming(first, last).unsettle()
    if not tiling.holes:
        memory.hole = {}
        return 0
    what = {"holes": len(tiling.holes), "first": tiling.holes[0][0], "last": tiling.holes[-1][1]}
    if not is_worth_trying(memory.hole, **what):  # some nodes keep no old logs
        return 0
    found = Report()
    read_around(reader, tiling.holes, head=survey.head.number, report=found, until=until)
    mended = found.created + found.completed
    if not mended:
        wait_before_trying(memory.hole, longest_seconds=_LONGEST_RETRY_SECONDS, **what)
    return mended


def _revealed_half_an_hour_ago(memory: Memory) -> list[int]:
    """Return the tokens revealed since the last proof, half an hour later.

    By then no reorg can take a reveal back, and no node is late.
    """
    now = database_now()  # which reveals carry, too
    since = now if memory.proved_at is None else datetime.fromisoformat(memory.proved_at)
    memory.proved_at = now.isoformat()
    found = Token.objects.filter(
        status=TokenStatus.REVEALED,
        status_changed_at__gt=since - _SURE_AFTER,
        status_changed_at__lte=now - _SURE_AFTER,
    )
    return list(found.order_by("-status_changed_at").values_list("pk", flat=True)[:_NEW_ONES])


def _next_window(memory: Memory) -> list[int]:
    """Return some tokens after those of the last proof; from the beginning after the last ones."""
    after = Token.objects.filter(token_id__gt=memory.window).order_by("token_id")
    ids = list(after.values_list("token_id", flat=True)[:OLD_ONES])
    memory.window = ids[-1] if len(ids) == OLD_ONES else 0
    return ids


def settle_orphans() -> int:
    """Give tokens the settled mints that cover their ids; return how many tokens it was.

    A settled mint is what the chain says: a token of another author gives way to a new one.
    """
    # Token by token, of which there are few: a plain join is planned from all the mints.
    found = MintEvent.objects.raw(
        "SELECT DISTINCT m.* FROM tokens_s0 t CROSS JOIN LATERAL ("
        "SELECT * FROM mint_events WHERE start_token_id BETWEEN t.token_id - 50 AND t.token_id "
        "AND start_token_id + quantity > t.token_id AND settled_at IS NOT NULL LIMIT %s) AS m "
        "WHERE t.mint_event_id IS NULL LIMIT %s",
        [_AT_ONCE, _AT_ONCE],
    )
    logs = [_as_log(event) for event in found]
    if not logs:
        return 0
    owners = {token_id: log for log in logs for token_id in log.token_ids}
    with transaction.atomic():
        lock_mints()
        free = _not_in_flight(Token.objects.filter(mint_event=None, token_id__in=owners))
        # What is revealed here stays so: if the chain says otherwise, the drift check finds it.
        revealed = {token.pk for token in free if token.status == TokenStatus.REVEALED}
        give_up(free, owners, revealed, reason="its mint is another than was thought")
        register_mints(logs, source=MintSource.BACKFILL, actor=withdrawal.ACTOR)
    return len(free)


def withdraw_unknown(survey: Survey, memory: Memory) -> int:
    """Withdraw tokens without a mint that the contract has not known for some blocks."""
    # Those that we revealed are for a person.
    orphans = Token.objects.filter(mint_event=None).exclude(
        status=TokenStatus.REVEALED, adopted_uri=None
    )
    beyond = orphans.filter(token_id__gte=survey.next_token_id)
    head, known = survey.head.number, memory.unknown
    missed = {str(i): known.get(str(i), head) for i in beyond.values_list("pk", flat=True)}
    due = [i for i, since in missed.items() if head - since >= PATIENCE_BLOCKS]
    memory.unknown = {i: since for i, since in missed.items() if i not in due}
    if not due:
        return 0
    with transaction.atomic():
        gone = _not_in_flight(orphans.filter(token_id__in=due))
        withdraw(gone, "the contract does not know it any more")
    memory.known_below = min([memory.known_below, *(token.pk for token in gone)])
    return len(gone)


def _not_in_flight(tokens: QuerySet[Token]) -> list[Token]:
    """Lock tokens; return those that no transaction of ours reveals."""
    locked = list(tokens.select_for_update().order_by("token_id"))
    busy = in_flight(token.pk for token in locked)
    return [token for token in locked if token.pk not in busy]


def _as_log(event: MintEvent) -> MintLog:
    facts = {each.name: getattr(event, each.name) for each in fields(MintLog)}
    return MintLog(**facts | {"total_paid_wei": int(event.total_paid_wei)})

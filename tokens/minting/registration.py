"""Turn mints into tokens: the one way in, for the webhook and for the backfill.

Calling it twice with the same log, in turn or at the same time, ends as calling it once. Each
log stands alone: what is wrong with one never hides another.

The order of the statements matters. Mint events come first, sorted, then tokens, sorted: two
calls that overlap wait for each other in the same order, so they cannot deadlock (one call per
transaction keeps that true). Authors are read after the mint events were written: whoever adds
an author and then adopts that wallet's waiting tokens only has to take
`LOCK TABLE mint_events IN SHARE MODE` before both, and no token falls in between.

What contradicts the database (another block, other tokens, another mint of the same tokens)
changes nothing here: which side is right only the chain can say. The mints in question count as
unsettled again, so that the next look at the chain asks (tokens.recovery).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import structlog
from django.db import connection, transaction

from tokens.minting.mint_log import MintLog
from tokens.models.mint import MintEvent, MintSource
from tokens.transitions.chain import NewTokens, complete_tokens, create_tokens
from tokens.transitions.status import as_json

logger = structlog.get_logger(__name__)

LogKey = tuple[str, int]  # transaction, log index


class MintResult(StrEnum):
    REGISTERED = "registered"
    COMPLETED = "completed"  # its tokens were known without their mint
    DUPLICATE = "duplicate"  # known already, nothing was missing
    CONFLICT = "conflict"  # some of its token ids belong to another mint
    REORGED = "reorged"  # known already, but from another block


DOUBTFUL = frozenset({MintResult.CONFLICT, MintResult.REORGED})


@dataclass(frozen=True)
class MintOutcome:
    """What became of one log, and of its tokens."""

    log: MintLog
    result: MintResult
    created: tuple[int, ...] = ()
    conflicting: tuple[int, ...] = ()  # another mint had them first
    completed: tuple[int, ...] = ()  # were found in the contract before, and have their mint now
    # Where the log agrees with what is stored of it.
    mint_event_id: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class _StoredMint:
    """A mint event as it stands in the database; `token_ids` hung on it before this call."""

    id: int
    facts: tuple[str, str, int, int]
    block_hash: str
    token_ids: frozenset[int] = frozenset()


def register_mints(logs: Sequence[MintLog], *, source: MintSource, actor: str) -> list[MintOutcome]:
    """Store the mints and create their tokens; return one outcome per log, in their order.

    All of it commits together, in the caller's transaction or in one of its own, and wakes the
    pipeline if there is a new token. A known mint whose tokens are not all there gets the
    missing ones. Idempotent and safe to call at the same time from several processes.
    """
    unique = _first_of_each(logs)
    if not unique:
        return []
    with transaction.atomic(savepoint=False):
        found = _register([unique[key] for key in sorted(unique)], source=source, actor=actor)
        for outcome in found.values():
            if outcome.result in DOUBTFUL:
                log = outcome.log
                MintEvent.objects.filter(tx_hash=log.tx_hash).unsettle()
                MintEvent.objects.claiming(log.start_token_id, log.token_ids[-1]).unsettle()
    outcomes = []
    for log in logs:
        first = unique.get(log.key)
        mine = found.pop(log.key, None) if log == first else None
        outcomes.append(
            mine or _contradiction(log, first) or MintOutcome(log, MintResult.DUPLICATE)
        )
    _report(outcomes)
    return outcomes


def _register(
    logs: Sequence[MintLog], *, source: MintSource, actor: str
) -> dict[LogKey, MintOutcome]:
    stored = _store_mints(logs, source)
    stored |= _known_mints([log for log in logs if log.key not in stored])
    told = {log.key: _contradiction(log, stored.get(log.key)) for log in logs}
    found = {key: outcome for key, outcome in told.items() if outcome is not None}
    agreed = [(stored[log.key], log) for log in logs if log.key not in found]
    short = [(mint, log) for mint, log in agreed if len(mint.token_ids) < log.quantity]
    created = create_tokens(
        [_new_tokens(mint.id, log) for mint, log in short],
        actor=actor,
        detail={"source": source.value},
    )
    known = [
        (mint.id, log)
        for mint, log in short
        if len(mint.token_ids) + len(created.get(mint.id, ())) < log.quantity
    ]
    completed = complete_tokens(known, actor=actor) if known else {}
    for mint, log in agreed:
        found[log.key] = _outcome(log, mint, created.get(mint.id, []), completed.get(mint.id, []))
    return found


def _first_of_each(logs: Sequence[MintLog]) -> dict[LogKey, MintLog]:
    """Return the first log of each key; a transaction stands in one block, its first one."""
    blocks: dict[str, str] = {}
    for log in logs:
        blocks.setdefault(log.tx_hash, log.block_hash)
    usable = [log for log in logs if blocks[log.tx_hash] == log.block_hash]
    return {log.key: log for log in reversed(usable)}


def _contradiction(log: MintLog, known: MintLog | _StoredMint | None) -> MintOutcome | None:
    """Return the outcome of a log that contradicts what is known of it; None if it does not."""
    if known is not None and known.facts != log.facts:
        return MintOutcome(log, MintResult.CONFLICT, conflicting=tuple(log.token_ids))
    if known is None or known.block_hash != log.block_hash:
        return MintOutcome(log, MintResult.REORGED)  # its transaction is in another block
    return None


def _outcome(
    log: MintLog, mint: _StoredMint, created: Sequence[int], completed: Sequence[int]
) -> MintOutcome:
    others = set(log.token_ids).difference(mint.token_ids, created, completed)
    if others:
        result = MintResult.CONFLICT
    elif created:
        result = MintResult.REGISTERED
    else:
        result = MintResult.COMPLETED if completed else MintResult.DUPLICATE
    made, other, got = (tuple(sorted(found)) for found in (created, others, completed))
    return MintOutcome(log, result, made, other, got, mint.id)


def _new_tokens(mint_event_id: int, log: MintLog) -> NewTokens:
    return NewTokens(
        mint_event_id=mint_event_id,
        first_id=log.start_token_id,
        quantity=log.quantity,
        wallet=log.prompt_author,
        minter=log.minter,
        minted_at=log.block_timestamp,
        reason=f"minted in transaction {log.tx_hash}, log {log.log_index}",
    )


def _store_mints(logs: Sequence[MintLog], source: MintSource) -> dict[LogKey, _StoredMint]:
    """Insert the mint events that are new; return them by log.

    A transaction that is known from another block is none: it was mined again.
    """
    sql = """
        INSERT INTO mint_events
            (tx_hash, log_index, block_number, block_hash, block_timestamp, minter,
             prompt_author, start_token_id, quantity, total_paid_wei, source, created_at)
        SELECT v.*, %s, clock_timestamp()
        FROM jsonb_to_recordset(%s::jsonb)
            AS v(tx_hash text, log_index integer, block_number bigint, block_hash text,
                 block_timestamp timestamptz, minter text, prompt_author text,
                 start_token_id bigint, quantity integer, total_paid_wei numeric)
        -- A scalar subquery, so that it is looked up by the index for each log: as NOT EXISTS it
        -- becomes a join with the whole table in a plan that was made while it was small.
        WHERE (SELECT true FROM mint_events m
               WHERE m.tx_hash = v.tx_hash AND m.block_hash <> v.block_hash LIMIT 1) IS NULL
        ON CONFLICT (tx_hash, log_index) DO NOTHING
        RETURNING tx_hash, log_index, id, minter, prompt_author, start_token_id, quantity,
                  block_hash
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [source.value, as_json(vars(log) for log in logs)])
        return {
            (tx_hash, index): _StoredMint(pk, tuple(facts), block_hash)
            for tx_hash, index, pk, *facts, block_hash in cursor.fetchall()
        }


def _known_mints(logs: Sequence[MintLog]) -> dict[LogKey, _StoredMint]:
    """Return what is stored of logs that were there before."""
    if not logs:
        return {}
    sql = """
        SELECT m.tx_hash, m.log_index, m.id, m.minter, m.prompt_author, m.start_token_id,
               m.quantity, m.block_hash,
               ARRAY(SELECT t.token_id FROM tokens_s0 t WHERE t.mint_event_id = m.id)
        FROM unnest(%s::text[], %s::integer[]) AS v(tx_hash, log_index)
        JOIN mint_events m USING (tx_hash, log_index)
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [[log.tx_hash for log in logs], [log.log_index for log in logs]])
        return {
            (tx_hash, index): _StoredMint(pk, tuple(facts), block_hash, frozenset(token_ids))
            for tx_hash, index, pk, *facts, block_hash, token_ids in cursor.fetchall()
        }


def _report(outcomes: Sequence[MintOutcome]) -> None:
    made = [token_id for outcome in outcomes for token_id in outcome.created]
    if made:  # the timeline of each says which mint it was
        logger.info("mints_registered", tokens=len(made), first=min(made), last=max(made))
    for outcome in outcomes:
        log = outcome.log
        facts = {"tx_hash": log.tx_hash, "log_index": log.log_index, "first": log.start_token_id}
        if outcome.result == MintResult.COMPLETED:
            logger.info("mint_found_later", tokens=len(outcome.completed), **facts)
        elif outcome.result == MintResult.CONFLICT:
            logger.error("mint_conflict", token_ids=outcome.conflicting[:10], **facts)
        elif outcome.result == MintResult.REORGED:
            logger.warning("mint_from_another_block", block_hash=log.block_hash, **facts)

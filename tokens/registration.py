"""Turn mints into tokens: the one way in, for the webhook and for the backfill.

Calling it twice with the same log, in turn or at the same time, ends as calling it once. Each
log stands alone: what is wrong with one never hides another.

The order of the statements matters. Mint events come first, sorted, then tokens, sorted: two
calls that overlap wait for each other in the same order, so they cannot deadlock (one call per
transaction keeps that true). Authors are read after the mint events were written: whoever adds
an author and then adopts that wallet's waiting tokens only has to take
`LOCK TABLE mint_events IN SHARE MODE` before both, and no token falls in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog
from django.conf import settings
from django.db import connection, transaction

from authors.models import Author
from glisk.engine.notify import notify
from tokens.channels import PIPELINE_CHANNEL
from tokens.mint_log import MintLog
from tokens.models.mint import MintSource
from tokens.states import TokenStatus

logger = structlog.get_logger(__name__)


class MintResult(StrEnum):
    REGISTERED = "registered"
    DUPLICATE = "duplicate"  # known already, nothing was missing
    CONFLICT = "conflict"  # some of its token ids belong to another mint
    REORGED = "reorged"  # known already, but from another block


@dataclass(frozen=True)
class MintOutcome:
    """What became of one log: the tokens it created, and those that another mint had first."""

    log: MintLog
    result: MintResult
    created: tuple[int, ...] = ()
    conflicting: tuple[int, ...] = ()


@dataclass(frozen=True)
class _KnownMint:
    """A stored mint event, and the tokens that hang on it."""

    id: int
    log_facts: tuple[str, str, int, int]
    block_hash: str
    token_ids: frozenset[int]


def register_mint(*, event: MintLog, source: MintSource, actor: str) -> MintOutcome:
    """Register one mint; see `register_mints`."""
    return register_mints([event], source=source, actor=actor)[0]


def register_mints(logs: Sequence[MintLog], *, source: MintSource, actor: str) -> list[MintOutcome]:
    """Store the mints and create their tokens; return one outcome per log, in their order.

    All of it commits together, in the caller's transaction or in one of its own, and wakes the
    pipeline if there is a new token. A known mint whose tokens are not all there gets the
    missing ones. Idempotent and safe to call at the same time from several processes.
    """
    unique = {log.key: log for log in reversed(logs)}  # the first of equal keys stays
    ordered = [unique[key] for key in sorted(unique)]
    if not ordered:
        return []
    with transaction.atomic(savepoint=False):
        stored = _store_mints(ordered, source)
        known = _known_mints([log for log in ordered if log.key not in stored])
        wanting = {**stored}
        for log in ordered:
            mint = known.get(log.key)
            if mint and _same_mint(mint, log) and len(mint.token_ids) < log.quantity:
                wanting[log.key] = mint.id
        created = _create_tokens(
            [(wanting[log.key], log) for log in ordered if log.key in wanting],
            source=source,
            actor=actor,
        )
        if any(created.values()):
            notify(PIPELINE_CHANNEL)
    outcomes: list[MintOutcome] = []
    seen: set[tuple[str, int]] = set()
    for log in logs:
        if log.key in seen:
            outcomes.append(_repeated(log, unique[log.key]))
        else:
            made = created.get(wanting.get(log.key, 0), ())
            outcomes.append(_outcome(log, known.get(log.key), tuple(sorted(made))))
        seen.add(log.key)
    _report(outcomes)
    return outcomes


def _store_mints(logs: Sequence[MintLog], source: MintSource) -> dict[tuple[str, int], int]:
    """Insert the mint events that are new; return their ids by log."""
    sql = """
        INSERT INTO mint_events
            (tx_hash, log_index, block_number, block_hash, block_timestamp, minter,
             prompt_author, start_token_id, quantity, total_paid_wei, source, created_at)
        SELECT v.*, %s, clock_timestamp()
        FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::text[], %s::timestamptz[],
                    %s::text[], %s::text[], %s::bigint[], %s::integer[], %s::numeric[]) AS v
        ON CONFLICT (tx_hash, log_index) DO NOTHING
        RETURNING tx_hash, log_index, id
    """
    columns = [
        [getattr(log, name) for log in logs]
        for name in (
            "tx_hash", "log_index", "block_number", "block_hash", "block_timestamp", "minter",
            "prompt_author", "start_token_id", "quantity", "total_paid_wei",
        )
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(sql, [source.value, *columns])
        return {(tx_hash, index): pk for tx_hash, index, pk in cursor.fetchall()}


def _known_mints(logs: Sequence[MintLog]) -> dict[tuple[str, int], _KnownMint]:
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
            (tx_hash, index): _KnownMint(pk, tuple(facts), block_hash, frozenset(token_ids))
            for tx_hash, index, pk, *facts, block_hash, token_ids in cursor.fetchall()
        }


def _create_tokens(
    mints: Sequence[tuple[int, MintLog]], *, source: MintSource, actor: str
) -> dict[int, list[int]]:
    """Insert the tokens of mint events and the start of their timelines, in one statement.

    Returns the ids of the tokens that are new, by mint event. Ids that exist stay as they are.
    """
    if not mints:
        return {}
    default_wallet = settings.GLISK_DEFAULT_AUTHOR_WALLET
    authors = Author.objects.by_wallets([default_wallet, *(log.prompt_author for _, log in mints)])
    default = authors.get(default_wallet.lower()) or Author.objects.default()
    default_prompt = default.prompt_text if default.has_prompt else settings.DEFAULT_PROMPT
    rows = []
    for mint_event_id, log in mints:
        author = authors.get(log.prompt_author.lower(), default)
        rows.append(
            (
                mint_event_id,
                log.start_token_id,
                log.quantity,
                author.pk,
                log.prompt_author,
                log.minter,
                log.block_timestamp,
                author.prompt_text if author.has_prompt else default_prompt,
                f"minted in transaction {log.tx_hash}, log {log.log_index}",
            )
        )
    sql = """
        WITH mint AS (
            SELECT * FROM unnest(
                %s::bigint[], %s::bigint[], %s::integer[], %s::bigint[], %s::text[], %s::text[],
                %s::timestamptz[], %s::text[], %s::text[]
            ) AS v(mint_event_id, first_id, quantity, author_id, prompt_author_wallet,
                   minter_address, minted_at, prompt, reason)
        ), created AS (
            INSERT INTO tokens_s0
                (token_id, author_id, prompt_author_wallet, minter_address, mint_event_id,
                 mint_timestamp, prompt, status, status_changed_at, generation_attempts,
                 fallback_used, error_class, error_log, attempts, created_at, updated_at)
            SELECT id, author_id, prompt_author_wallet, minter_address, mint_event_id, minted_at,
                   prompt, %s, clock_timestamp(), 0, false, '', '[]', 0, clock_timestamp(),
                   clock_timestamp()
            FROM mint CROSS JOIN generate_series(first_id, first_id + quantity - 1) AS id
            ORDER BY id
            ON CONFLICT (token_id) DO NOTHING
            RETURNING token_id, mint_event_id
        ), timeline AS (
            INSERT INTO token_transitions
                (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
            SELECT token_id, '', %s, reason, 0, %s, jsonb_build_object('source', %s::text),
                   clock_timestamp()
            FROM created JOIN mint USING (mint_event_id)
        )
        SELECT mint_event_id, token_id FROM created
    """
    status = TokenStatus.DETECTED.value
    created: dict[int, list[int]] = {}
    with connection.cursor() as cursor:
        columns = [list(column) for column in zip(*rows, strict=True)]
        cursor.execute(sql, [*columns, status, status, actor, source.value])
        for mint_event_id, token_id in cursor.fetchall():
            created.setdefault(mint_event_id, []).append(token_id)
    return created


def _facts(log: MintLog) -> tuple[str, str, int, int]:
    return log.minter, log.prompt_author, log.start_token_id, log.quantity


def _same_mint(mint: _KnownMint, log: MintLog) -> bool:
    return mint.log_facts == _facts(log) and mint.block_hash == log.block_hash


def _outcome(log: MintLog, mint: _KnownMint | None, made: tuple[int, ...]) -> MintOutcome:
    if mint and mint.log_facts != _facts(log):
        return MintOutcome(log, MintResult.CONFLICT, conflicting=tuple(log.token_ids))
    if mint and mint.block_hash != log.block_hash:
        return MintOutcome(log, MintResult.REORGED)
    own = mint.token_ids if mint else frozenset()
    others = tuple(sorted(set(log.token_ids) - own - set(made)))
    if others:
        return MintOutcome(log, MintResult.CONFLICT, made, others)
    return MintOutcome(log, MintResult.REGISTERED if made else MintResult.DUPLICATE, made)


def _repeated(log: MintLog, first: MintLog) -> MintOutcome:
    """Return the outcome of a log whose like came before it in the same call."""
    if log == first:
        return MintOutcome(log, MintResult.DUPLICATE)
    if _facts(log) == _facts(first):
        return MintOutcome(log, MintResult.REORGED)
    return MintOutcome(log, MintResult.CONFLICT, conflicting=tuple(log.token_ids))


def _report(outcomes: Sequence[MintOutcome]) -> None:
    for outcome in outcomes:
        log = outcome.log
        facts = {"tx_hash": log.tx_hash, "log_index": log.log_index, "first": log.start_token_id}
        if outcome.result == MintResult.REGISTERED:
            logger.info("mint_registered", tokens=len(outcome.created), **facts)
        elif outcome.result == MintResult.CONFLICT:
            logger.error("mint_conflict", token_ids=outcome.conflicting[:10], **facts)
        elif outcome.result == MintResult.REORGED:
            logger.warning("mint_from_another_block", block_hash=log.block_hash, **facts)

"""The statements of mint registration: each for any number of mints at once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from authors.models import Author
from authors.prompts import prompts_by_wallet
from tokens.mint_log import MAX_QUANTITY, MintLog
from tokens.models.mint import MintSource
from tokens.states import TokenStatus


@dataclass(frozen=True)
class KnownMint:
    """A stored mint event, and the tokens that hang on it."""

    id: int
    log_facts: tuple[str, str, int, int]
    block_hash: str
    token_ids: frozenset[int]


def store_mints(logs: Sequence[MintLog], source: MintSource) -> dict[tuple[str, int], int]:
    """Insert the mint events that are new; return their ids by log.

    A transaction that is known from another block is none: it was mined again, and its logs may
    have other indexes now. Stored beside the old ones, one mint would stand there twice.
    """
    sql = """
        INSERT INTO mint_events
            (tx_hash, log_index, block_number, block_hash, block_timestamp, minter,
             prompt_author, start_token_id, quantity, total_paid_wei, source, created_at)
        SELECT v.*, %s, clock_timestamp()
        FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::text[], %s::timestamptz[],
                    %s::text[], %s::text[], %s::bigint[], %s::integer[], %s::numeric[])
            AS v(tx_hash, log_index, block_number, block_hash)
        WHERE NOT EXISTS (SELECT 1 FROM mint_events m
                          WHERE m.tx_hash = v.tx_hash AND m.block_hash <> v.block_hash)
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


def known_mints(logs: Sequence[MintLog]) -> dict[tuple[str, int], KnownMint]:
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
            (tx_hash, index): KnownMint(pk, tuple(facts), block_hash, frozenset(token_ids))
            for tx_hash, index, pk, *facts, block_hash, token_ids in cursor.fetchall()
        }


def create_tokens(
    mints: Sequence[tuple[int, MintLog]],
    *,
    source: MintSource,
    actor: str,
    only_ids: Collection[int] | None,
) -> dict[int, list[int]]:
    """Insert the tokens of mint events and the start of their timelines, in one statement.

    Returns the ids of the tokens that are new, by mint event. Ids that exist stay as they are.
    """
    if not mints:
        return {}
    default_wallet = settings.GLISK_DEFAULT_AUTHOR_WALLET
    authors = prompts_by_wallet([default_wallet, *(log.prompt_author for _, log in mints)])
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
            WHERE %s::bigint[] IS NULL OR id = ANY (%s::bigint[])
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
        only = None if only_ids is None else sorted(only_ids)
        cursor.execute(sql, [*columns, status, only, only, status, actor, source.value])
        for mint_event_id, token_id in cursor.fetchall():
            created.setdefault(mint_event_id, []).append(token_id)
    return created


def complete_tokens(mints: Sequence[tuple[int, MintLog]], *, actor: str) -> dict[int, list[int]]:
    """Give tokens that have no mint theirs, if the author is the same; return them by mint.

    They were found in the contract, which tells neither minter nor time, or lost their mint to
    a reorg.
    """
    columns = [
        [mint_event_id for mint_event_id, _ in mints],
        *(
            [getattr(log, name) for _, log in mints]
            for name in (
                "start_token_id", "quantity", "prompt_author", "minter", "block_timestamp",
                "tx_hash",
            )
        ),
    ]  # fmt: skip
    sql = """
        WITH mint AS (
            SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::integer[], %s::text[],
                                 %s::text[], %s::timestamptz[], %s::text[])
                AS v(mint_event_id, first_id, quantity, author, minter, minted_at, tx_hash)
        ), completed AS (
            UPDATE tokens_s0 t
            SET mint_event_id = v.mint_event_id, minter_address = v.minter,
                mint_timestamp = v.minted_at, updated_at = clock_timestamp()
            FROM mint v
            WHERE t.mint_event_id IS NULL AND t.prompt_author_wallet = v.author
              AND t.token_id >= v.first_id AND t.token_id < v.first_id + v.quantity
            RETURNING t.token_id, t.mint_event_id, t.status, t.attempts, v.tx_hash
        ), timeline AS (
            INSERT INTO token_transitions
                (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
            SELECT token_id, status, status, 'its mint was found in transaction ' || tx_hash,
                   attempts, %s, '{}', clock_timestamp()
            FROM completed
        )
        SELECT mint_event_id, token_id FROM completed
    """
    completed: dict[int, list[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [*columns, actor])
        for mint_event_id, token_id in cursor.fetchall():
            completed.setdefault(mint_event_id, []).append(token_id)
    return completed


def unsettle(logs: Sequence[MintLog]) -> None:
    """Have the stored mints that these logs contradict looked at again."""
    sql = """
        UPDATE mint_events m SET settled_at = NULL
        FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS v(tx_hash, first_id, last_id)
        WHERE m.settled_at IS NOT NULL
          AND (m.tx_hash = v.tx_hash
               OR (m.start_token_id BETWEEN v.first_id - %s AND v.last_id
                   AND m.start_token_id + m.quantity > v.first_id))
    """
    with connection.cursor() as cursor:
        cursor.execute(
            sql,
            [
                [log.tx_hash for log in logs],
                [log.start_token_id for log in logs],
                [log.token_ids[-1] for log in logs],
                MAX_QUANTITY,
            ],
        )

"""The statements of mint registration: each for any number of mints at once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db import connection

from authors.models import Author
from glisk.database.json_rows import as_json
from tokens.minting.mint_log import MAX_QUANTITY, MintLog
from tokens.models.mint import MintSource
from tokens.states import TokenStatus
from tokens.transitions import PIPELINE_CHANNEL

# What Python's strip() takes off: an author with such a prompt has none (Author.has_prompt).
_BLANK: Final = "".join(filter(str.isspace, map(chr, range(0x3001))))


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
        FROM jsonb_to_recordset(%s::jsonb)
            AS v(tx_hash text, log_index integer, block_number bigint, block_hash text,
                 block_timestamp timestamptz, minter text, prompt_author text,
                 start_token_id bigint, quantity integer, total_paid_wei numeric)
        -- A scalar subquery, so that it is looked up by the index for each log: as NOT EXISTS it
        -- becomes a join with the whole table in a plan that was made while it was small.
        WHERE (SELECT true FROM mint_events m
               WHERE m.tx_hash = v.tx_hash AND m.block_hash <> v.block_hash LIMIT 1) IS NULL
        ON CONFLICT (tx_hash, log_index) DO NOTHING
        RETURNING tx_hash, log_index, id
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [source.value, as_json(vars(log) for log in logs)])
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
    The pipeline hears of new ones at the commit.
    """
    if not mints:
        return {}
    created = _create_tokens(mints, source, actor, only_ids)
    if created is None:
        Author.objects.default()  # makes it; from now on it is found
        created = _create_tokens(mints, source, actor, only_ids)
    return created or {}


def _create_tokens(
    mints: Sequence[tuple[int, MintLog]],
    source: MintSource,
    actor: str,
    only_ids: Collection[int] | None,
) -> dict[int, list[int]] | None:
    """Do so, or return None, with nothing done, if there is no default author."""
    # The prompt to freeze is the author's own, else the default author's, else the setting's.
    # LATERAL: one index lookup per mint, whatever plan was kept.
    sql = """
        WITH default_author AS (
            SELECT id, CASE WHEN btrim(prompt_text, %(blank)s) = '' THEN %(prompt)s
                            ELSE prompt_text END AS prompt
            FROM authors WHERE lower(wallet_address) = %(default_wallet)s
        ), mint AS (
            SELECT v.*, coalesce(a.id, d.id) AS author_id,
                   CASE WHEN btrim(a.prompt_text, %(blank)s) <> '' THEN a.prompt_text
                        ELSE d.prompt END AS prompt
            FROM jsonb_to_recordset(%(mints)s::jsonb)
                AS v(mint_event_id bigint, first_id bigint, quantity integer, wallet text,
                     minter text, minted_at timestamptz, reason text)
            CROSS JOIN default_author d
            LEFT JOIN LATERAL (
                SELECT id, prompt_text
                FROM authors WHERE lower(wallet_address) = lower(v.wallet) LIMIT 1
            ) a ON true
        ), created AS (
            INSERT INTO tokens_s0
                (token_id, author_id, prompt_author_wallet, minter_address, mint_event_id,
                 mint_timestamp, prompt, status, status_changed_at, generation_attempts,
                 fallback_used, error_class, error_log, attempts, created_at, updated_at)
            SELECT id, author_id, wallet, minter, mint_event_id, minted_at,
                   prompt, %(status)s, clock_timestamp(), 0, false, '', '[]', 0, clock_timestamp(),
                   clock_timestamp()
            FROM mint CROSS JOIN generate_series(first_id, first_id + quantity - 1) AS id
            WHERE %(only)s::bigint[] IS NULL OR id = ANY (%(only)s::bigint[])
            ORDER BY id
            ON CONFLICT (token_id) DO NOTHING
            RETURNING token_id, mint_event_id
        ), timeline AS (
            INSERT INTO token_transitions
                (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
            SELECT token_id, '', %(status)s, reason, 0, %(actor)s,
                   jsonb_build_object('source', %(source)s::text), clock_timestamp()
            FROM created JOIN mint USING (mint_event_id)
        )
        SELECT mint_event_id, token_id, pg_notify(%(channel)s, '') FROM created
        UNION ALL SELECT NULL, NULL, NULL WHERE NOT EXISTS (SELECT FROM default_author)
    """
    parameters = {
        "blank": _BLANK,
        "prompt": settings.DEFAULT_PROMPT,
        "default_wallet": settings.GLISK_DEFAULT_AUTHOR_WALLET.lower(),
        "mints": as_json(_token_facts(pk, log) for pk, log in mints),
        "status": TokenStatus.DETECTED.value,
        "only": None if only_ids is None else sorted(only_ids),
        "actor": actor,
        "source": source.value,
        "channel": PIPELINE_CHANNEL,
    }
    created: dict[int, list[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        for mint_event_id, token_id, _ in cursor.fetchall():
            if mint_event_id is None:
                return None
            created.setdefault(mint_event_id, []).append(token_id)
    return created


def _token_facts(mint_event_id: int, log: MintLog) -> dict[str, Any]:
    return {
        "mint_event_id": mint_event_id,
        "first_id": log.start_token_id,
        "quantity": log.quantity,
        "wallet": log.prompt_author,
        "minter": log.minter,
        "minted_at": log.block_timestamp,
        "reason": f"minted in transaction {log.tx_hash}, log {log.log_index}",
    }


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


def unsettle_transactions(tx_hashes: Sequence[str]) -> None:
    """Have the stored mints of transactions looked at again, however deep their blocks are."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mint_events SET settled_at = NULL "
            "WHERE settled_at IS NOT NULL AND tx_hash = ANY (%s::text[])",
            [list(tx_hashes)],
        )

"""The statements of mint registration: each for any number of mints at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from glisk.database.json_rows import as_json
from tokens.minting.mint_log import MAX_QUANTITY, MintLog
from tokens.models.mint import MintSource


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

"""Fill a fresh database as years of work would: a million tokens with everything around them.

    python -m benchmarks.big_database [TOKENS [UNDER_WAY [PICTURES [SIDE]]]]

On the database of the environment, which must be migrated and hold no token. Everything is made
by the server itself, one INSERT … SELECT a table. The newest tokens are under way, one in a
hundred failed, all others are revealed; every twenty seconds of the past one was minted.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import django

from sandbox.world import BASE_DIR, World

if TYPE_CHECKING:
    from django.db.models import Model

TOKENS = 1_000_000
TABLES = (
    "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public' "
    # What migrations wrote stays.
    "AND tablename NOT IN ('django_migrations', 'django_content_type', 'auth_permission')"
)
UNDER_WAY = 2_000  # tokens that are not revealed yet
PICTURES = 500  # of the newest revealed tokens
SIDE = 64  # of a picture, in pixels: 4 kB, and 100 kB with 320
_FILL_TIMEOUT_SECONDS = 1800
# What the queries say often; a wallet of digits looks the same with its checksum.
_FUNCTIONS = """
    CREATE OR REPLACE FUNCTION pg_temp.wallet(n bigint) RETURNS text IMMUTABLE LANGUAGE sql
        RETURN '0x' || lpad(n::text, 40, '0');
    CREATE OR REPLACE FUNCTION pg_temp.author(mint bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
        RETURN 1 + (mint * 7919) % {authors};
    CREATE OR REPLACE FUNCTION pg_temp.hash(kind text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
        RETURN '0x' || md5(kind || n) || md5('x' || kind || n);
    CREATE OR REPLACE FUNCTION pg_temp.cid(prefix text, length int, n bigint) RETURNS text
        IMMUTABLE LANGUAGE sql RETURN prefix || left(md5(prefix || n) || md5('x' || n), length);
    CREATE OR REPLACE FUNCTION pg_temp.at(n bigint) RETURNS timestamptz STABLE LANGUAGE sql
        RETURN now() - ({tokens} - n) * interval '20 s';
"""
_SEQUENCES = """
    SELECT setval('authors_id_seq', {authors}), setval('mint_events_id_seq', {mints}),
        setval('reveal_batches_id_seq', (SELECT max(id) FROM reveal_batches))
"""
# By model, in this order: a column that a query does not name has its default. `{…}` stand for
# numbers that follow from that of the tokens.
_ROWS = {
    "authors.Author": """
    SELECT id, pg_temp.wallet(id) AS wallet_address, 'author' || id AS twitter_handle,
        'A lighthouse in style ' || id || repeat(', quiet and vast', 8) AS prompt_text
    FROM generate_series(1, {authors}) AS id
    """,
    "authors.PromptChange": """
    SELECT id AS author_id, prompt_text, 'command' AS actor FROM authors
    """,
    "tokens.MintEvent": """
    SELECT id, pg_temp.hash('m', id) AS tx_hash, 5 AS log_index,
        1000 + id * 50 AS block_number, pg_temp.hash('b', id) AS block_hash,
        pg_temp.at(id * 5) AS block_timestamp,
        pg_temp.wallet(700000000 + id % 50000) AS minter,
        pg_temp.wallet(pg_temp.author(id)) AS prompt_author,
        (id - 1) * 5 + 1 AS start_token_id,
        least(5, {tokens} - (id - 1) * 5) AS quantity,
        1250000000000000 AS total_paid_wei, 'webhook' AS source, now() AS settled_at
    FROM generate_series(1, {mints}) AS id
    """,
    "tokens.Token": """
    SELECT id AS token_id, pg_temp.author(mint) AS author_id, status,
        pg_temp.wallet(pg_temp.author(mint)) AS prompt_author_wallet,
        pg_temp.wallet(700000000 + mint % 50000) AS minter_address,
        mint AS mint_event_id, pg_temp.at(mint * 5) AS mint_timestamp,
        'A lighthouse' || repeat(', quiet and vast', 8) AS prompt,
        pg_temp.at(id) AS status_changed_at,
        CASE WHEN has_image THEN 'https://replicate.delivery/xezq/' || id END AS image_url,
        CASE WHEN has_image THEN pg_temp.cid('bafkrei', 52, id) END AS image_cid,
        CASE WHEN is_pinned
            THEN '{{"name":"GLISK S0 #' || id || '"' || repeat(' ', 200) || '}}'
            END AS metadata_text,
        CASE WHEN is_pinned THEN pg_temp.cid('Qm', 44, id) END AS metadata_cid,
        CASE status WHEN 'revealed' THEN pg_temp.hash('r', (id - 1) / {batch} + 1)
            END AS reveal_tx_hash,
        CASE status WHEN 'revealed' THEN pg_temp.at(id) END AS revealed_at,
        CASE status WHEN 'detected' THEN 0 ELSE 1 END AS generation_attempts,
        CASE status WHEN 'failed' THEN 'The vendor refused it.' END AS generation_error,
        CASE status WHEN 'failed' THEN 'transient' ELSE '' END AS error_class
    FROM (
        SELECT id, mint, status, status IN ('uploading', 'ready', 'revealed') AS has_image,
            status IN ('ready', 'revealed') AS is_pinned
        FROM (
            SELECT id, (id + 4) / 5 AS mint, CASE
                WHEN id > {tokens} - {way} / 5 THEN 'detected'
                WHEN id > {tokens} - 2 * {way} / 5 THEN 'generating'
                WHEN id > {tokens} - 3 * {way} / 5 THEN 'uploading'
                WHEN id > {tokens} - {way} THEN 'ready'
                WHEN id % 100 = 37 THEN 'failed'
                ELSE 'revealed' END AS status
            FROM generate_series(1, {tokens}) AS id
        ) AS made
    ) AS made
    """,
    "tokens.TokenImage": """
    SELECT token_id, CASE WHEN token_id > {pictures} THEN '\\x{png}'::bytea END AS data,
        'image/png' AS mime_type, 'png' AS extension, 1024 AS width, 1024 AS height,
        120000 AS size_bytes, md5(token_id::text) || md5(token_id::text) AS sha256,
        pg_temp.at(token_id) AS created_at
    FROM tokens_s0 WHERE image_cid IS NOT NULL
    """,
    "tokens.ImageGenerationJob": """
    SELECT token_id, prompt, jsonb_build_object('seed', token_id) AS input,
        'replicate' AS service, 'black-forest-labs/flux-schnell' AS model,
        'p' || token_id AS external_id, 1 AS attempt_number,
        CASE status WHEN 'generating' THEN 'submitted' WHEN 'failed' THEN 'failed'
            ELSE 'captured' END AS status,
        0.003 AS cost_usd, 0.9 AS predict_time_seconds, status_changed_at AS created_at
    FROM tokens_s0 WHERE status <> 'detected'
    """,
    "tokens.IPFSUploadRecord": """
    SELECT token_id, upload_type, cid AS computed_cid, cid AS returned_cid,
        1000 AS size_bytes, 1 AS attempt_number, 'succeeded' AS status
    FROM tokens_s0, LATERAL (VALUES ('image', image_cid), ('metadata', metadata_cid))
        AS file(upload_type, cid) WHERE metadata_cid IS NOT NULL
    """,
    "tokens.TokenTransition": """
    SELECT token_id, from_status, to_status, 1 AS attempt, 'drain' AS actor,
        mint_timestamp AS created_at
    FROM tokens_s0, (VALUES ('', 'detected'), ('detected', 'generating'),
        ('generating', 'uploading'), ('uploading', 'ready'), ('ready', 'revealed'))
        AS move(from_status, to_status)
    WHERE status = 'revealed' OR to_status IN ('detected', status)
    """,
    "reveals.Verification": """
    SELECT token_id, image_cid, metadata_cid, status_changed_at AS verified_at
    FROM tokens_s0 WHERE metadata_cid IS NOT NULL
    """,
    "reveals.RevealBatch": """
    SELECT id, pg_temp.wallet(9) AS keeper, id AS nonce,
        CASE WHEN is_open THEN 'open' ELSE 'confirmed' END AS status,
        coalesce(at, now()) AS created_at, CASE WHEN NOT is_open THEN at END AS closed_at,
        CASE WHEN NOT is_open THEN at END AS settled_at
    FROM (
        SELECT (token_id - 1) / {batch} + 1 AS id, bool_or(status = 'ready') AS is_open,
            max(revealed_at) AS at
        FROM tokens_s0 WHERE status IN ('revealed', 'ready') GROUP BY 1
    ) AS made
    """,
    "reveals.RevealBatchToken": """
    SELECT (token_id - 1) / {batch} + 1 AS batch_id, token_id,
        (token_id - 1) % {batch} AS position, 'ipfs://' || metadata_cid AS metadata_uri,
        status = 'ready' AS is_open
    FROM tokens_s0 WHERE status IN ('revealed', 'ready') ORDER BY token_id
    """,
    "reveals.RevealTransaction": """
    SELECT b.id AS batch_id, pg_temp.hash('r', b.id) AS tx_hash, b.keeper, b.nonce,
        array_agg(t.token_id ORDER BY t.position) AS token_ids,
        array_agg(t.metadata_uri ORDER BY t.position) AS metadata_uris,
        decode(repeat('02', 5000), 'hex') AS raw_transaction, 6000000 AS gas_limit,
        20000000 AS max_fee_per_gas_wei, 1000000 AS max_priority_fee_per_gas_wei,
        CASE b.status WHEN 'open' THEN 'broadcast' ELSE 'confirmed' END AS status,
        b.created_at AS signed_at, b.created_at AS broadcast_at,
        b.created_at AS confirmed_at, b.settled_at AS read_back_at,
        1000 + b.id * 500 AS block_number,
        pg_temp.hash('c', b.id) AS block_hash, 4600000 AS gas_used,
        8000000 AS effective_gas_price_wei
    FROM reveal_batches b JOIN reveal_batch_tokens t ON t.batch_id = b.id GROUP BY b.id
    """,
    "webhooks.WebhookEvent": """
    SELECT 'whevt_' || id AS event_id, 'GRAPHQL' AS event_type, 'processed' AS status,
        decode(repeat('20', 800), 'hex') AS body,
        '[{{"log_index": 5, "verdict": "registered"}}]'::jsonb AS verdicts,
        block_timestamp AS received_at, block_timestamp AS last_delivery_at,
        block_timestamp + interval '4 ms' AS processed_at
    FROM mint_events
    """,
    "glisk.WorkerHeartbeat": """
    SELECT 'machine:1:2:' || stage AS owner, 'machine' AS host, 1 AS main_pid, 2 AS pid,
        stage, now() AS started_at, now() AS beat_at
    FROM (VALUES ('generation'), ('upload'), ('reveal'), ('supervisor')) AS made(stage)
    """,
    "glisk.SystemState": """
    SELECT * FROM (VALUES
        ('last_processed_block', '{{"block": 10001000, "head": 10001000}}'::jsonb),
        ('recovery', jsonb_build_object(
            'known_below', {tokens} + 1, 'tiled_below', {tokens} + 1, 'window', {tokens})),
        ('timeline_totals', jsonb_build_object(
            'upto', (SELECT max(id) FROM token_transitions), 'spans', '{{}}'::jsonb))
    ) AS made(state_key, state_value)
    """,
}


def fill_world(
    world: World,
    tokens: int,
    *,
    under_way: int = UNDER_WAY,
    pictures: int = PICTURES,
    side: int = SIDE,
) -> None:
    """Migrate a world's database and fill it, in a process with the program's settings."""
    world.manage("migrate", "--verbosity", "0")
    numbers = map(str, (tokens, under_way, pictures, side))
    subprocess.run(
        [sys.executable, "-m", "benchmarks.big_database", *numbers],
        cwd=BASE_DIR,
        env=world.env,
        check=True,
        timeout=_FILL_TIMEOUT_SECONDS,
    )


def empty() -> None:
    """Delete all that `fill` wrote."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        cursor.execute(f"TRUNCATE {cursor.fetchone()[0]} RESTART IDENTITY CASCADE")


def fill(
    tokens: int = TOKENS, under_way: int = UNDER_WAY, pictures: int = PICTURES, side: int = SIDE
) -> None:
    """Fill the database. Raises RuntimeError if there are tokens already.

    `under_way`: how many are not revealed; `pictures`: how many of the others have their bytes.
    """
    from django.apps import apps
    from django.db import connection

    from reveals.costs import add_up_costs
    from tokens.models import Token
    from tokens.totals import close_days

    if Token.objects.exists():
        raise RuntimeError("There are tokens in this database already.")
    with connection.cursor() as cursor:
        for setting in (
            "statement_timeout = 0",
            "synchronous_commit = off",
            "maintenance_work_mem = '256MB'",
            "session_replication_role = replica",  # references are right as they are made
        ):
            cursor.execute(f"SET {setting}")
        filler = Filler(cursor, tokens, under_way, pictures, side)
        indexes = _without_indexes(cursor)
        filler.execute(_FUNCTIONS)
        filler.execute("DELETE FROM prompt_changes; DELETE FROM authors")
        for label, query in _ROWS.items():
            filler.insert(apps.get_model(label), query)
        filler.execute(_SEQUENCES)
        for definition in indexes:
            cursor.execute(definition)
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM (ANALYZE)")
        close_days()
        add_up_costs()


def _without_indexes(cursor: Any) -> list[str]:
    """Drop all indexes but those of constraints; return what makes them anew."""
    cursor.execute(
        "SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index "
        "JOIN pg_class t ON t.oid = indrelid WHERE t.relnamespace = 'public'::regnamespace "
        "AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    return [definition for _, definition in indexes]


class Filler:
    """Inserts rows of models; `{…}` in a query stand for its words, which follow from `tokens`."""

    def __init__(self, cursor: Any, tokens: int, under_way: int, pictures: int, side: int) -> None:
        self._cursor = cursor
        batch = -(-tokens // max(10, tokens // 50))
        way = min(under_way, tokens // 5 // batch * batch)
        self._words = {
            "tokens": tokens,
            "authors": max(10, tokens // 100),
            "mints": -(-tokens // 5),
            "batch": batch,
            "way": way,
            "pictures": tokens - way - pictures,
            "png": _png(side),
        }

    def execute(self, query: str) -> None:
        self._cursor.execute(query.format(**self._words))

    def insert(self, model: type[Model], query: str) -> None:
        """Insert what the query finds; a column that it does not name has its default."""
        query = query.format(**self._words)
        self._cursor.execute(f"{query} LIMIT 0")
        names = [column.name for column in self._cursor.description]
        missing = {
            str(field.column): _default(field)
            for field in model._meta.local_concrete_fields
            if field.column not in names
            and not field.generated
            and field.get_internal_type() != "BigAutoField"
        }
        columns, values = ", ".join((*names, *missing)), ", ".join(("q.*", *missing.values()))
        self._cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({columns}) SELECT {values} FROM ({query}) AS q"
        )


def _default(field: Any) -> str:
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return "now()"
    if field.null:
        return "NULL"
    value = field.get_default()
    if isinstance(value, list | dict):
        return f"'{json.dumps(value)}'"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _png(side: int) -> str:
    """Return a picture that cannot be compressed in hexadecimal digits."""
    from PIL import Image

    out = io.BytesIO()
    Image.effect_noise((side, side), 60).save(out, "PNG")
    return out.getvalue().hex()


if __name__ == "__main__":
    django.setup()
    fill(*map(int, sys.argv[1:]))

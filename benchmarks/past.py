"""What years of work leave in the tables: one function for the tables of one kind."""

from __future__ import annotations

import io
import json

from benchmarks.filling import SECONDS, Filler

_MINT = 5  # tokens of one mint
_PICTURES = 500  # of the newest tokens; all others' bytes are purged

# Digits only: such an address looks the same with its EIP-55 checksum.
_WALLET = "'0x' || lpad(({})::text, 40, '0')"
_HASH = "'0x' || md5({0}) || md5('x' || {0})"


def make_authors_and_mints(f: Filler) -> None:
    from authors.models import Author, PromptChange
    from tokens.models import MintEvent

    f.execute("DELETE FROM prompt_changes")
    f.execute("DELETE FROM authors")
    f.insert(
        Author,
        f"generate_series(1, {f.authors}) AS id",
        id="id",
        wallet_address=_WALLET.format("id"),
        twitter_handle="'author' || id",
        prompt_text="'A lighthouse in style ' || id || repeat(', quiet and vast', 8)",
    )
    f.execute(f"SELECT setval('authors_id_seq', {f.authors})")
    f.insert(PromptChange, "authors", author_id="id", prompt_text="prompt_text", actor="'command'")
    f.insert(
        MintEvent,
        f"generate_series(1, {-(-f.tokens // _MINT)}) AS id",
        id="id",
        tx_hash=_HASH.format("id::text"),
        log_index="5",
        block_number=f"1000 + id * {_MINT * SECONDS // 2}",
        block_hash=_HASH.format("('b' || id)"),
        block_timestamp=f.at(f"id * {_MINT}"),
        minter=_WALLET.format("700000000 + id % 50000"),
        prompt_author=_WALLET.format(f.author("id")),
        start_token_id=f"(id - 1) * {_MINT} + 1",
        quantity=f"least({_MINT}, {f.tokens} - (id - 1) * {_MINT})",
        total_paid_wei=f"{_MINT} * 250000000000000",
        source="'webhook'",
        settled_at="now()",
    )
    f.execute("SELECT setval('mint_events_id_seq', (SELECT max(id) FROM mint_events))")


def make_tokens(f: Filler) -> None:
    from tokens.models import Token, TokenImage

    event = f"(id + {_MINT - 1}) / {_MINT}"
    source = (
        f"(SELECT id, {event} AS event, (id - 1) / {f.batch} + 1 AS batch, "
        f"{f.status} AS state FROM generate_series(1, {f.tokens}) AS id) AS made"
    )
    imaged = "state IN ('uploading', 'ready', 'revealed')"
    f.insert(
        Token,
        source,
        token_id="id",
        author_id=f.author("event"),
        prompt_author_wallet=_WALLET.format(f.author("event")),
        minter_address=_WALLET.format("700000000 + event % 50000"),
        mint_event_id="event",
        mint_timestamp=f.at(f"event * {_MINT}"),
        prompt="'A lighthouse' || repeat(', quiet and vast', 8)",
        status="state",
        status_changed_at=f.at("id"),
        image_url=f"CASE WHEN {imaged} THEN 'https://replicate.delivery/xezq/' || id END",
        image_cid=f"CASE WHEN {imaged} THEN {_cid('bafkrei', 52, 'i')} END",
        metadata_text="CASE WHEN state IN ('ready', 'revealed') THEN "
        """'{"name":"GLISK S0 #' || id || '"' || repeat(' ', 200) || '}' END""",
        metadata_cid=f"CASE WHEN state IN ('ready', 'revealed') THEN {_cid('Qm', 44, 'm')} END",
        reveal_tx_hash="CASE WHEN state = 'revealed' THEN "
        + _HASH.format("('r' || batch)")
        + " END",
        revealed_at=f"CASE WHEN state = 'revealed' THEN {f.at('id')} END",
        generation_attempts="CASE state WHEN 'detected' THEN 0 ELSE 1 END",
        generation_error="CASE WHEN state = 'failed' THEN 'The vendor refused it.' END",
        error_class="CASE WHEN state = 'failed' THEN 'transient' ELSE '' END",
    )
    f.insert(
        TokenImage,
        f"tokens_s0 WHERE {imaged.replace('state', 'status')}",
        token_id="token_id",
        data=f"CASE WHEN token_id > {f.tokens - f.way - _PICTURES} THEN '\\x{_png()}'::bytea END",
        mime_type="'image/png'",
        extension="'png'",
        width="1024",
        height="1024",
        size_bytes="120000",
        sha256="md5(token_id::text) || md5(token_id::text)",
    )


def make_history(f: Filler) -> None:
    from tokens.models import ImageGenerationJob, IPFSUploadRecord, TokenTransition

    f.insert(
        ImageGenerationJob,
        "tokens_s0 WHERE status <> 'detected'",
        token_id="token_id",
        prompt="prompt",
        input="jsonb_build_object('seed', token_id)",
        service="'replicate'",
        model="'black-forest-labs/flux-schnell'",
        external_id="'p' || token_id",
        attempt_number="1",
        status="CASE status WHEN 'generating' THEN 'submitted' WHEN 'failed' THEN 'failed' "
        "ELSE 'captured' END",
        cost_usd="0.003",
        predict_time_seconds="0.9",
        created_at="status_changed_at",
    )
    f.insert(
        IPFSUploadRecord,
        "tokens_s0, unnest(ARRAY['image', 'metadata']) AS kind WHERE metadata_cid IS NOT NULL",
        token_id="token_id",
        upload_type="kind",
        computed_cid="CASE kind WHEN 'image' THEN image_cid ELSE metadata_cid END",
        returned_cid="CASE kind WHEN 'image' THEN image_cid ELSE metadata_cid END",
        size_bytes="1000",
        attempt_number="1",
        status="'succeeded'",
    )
    f.insert(
        TokenTransition,
        "tokens_s0, unnest(ARRAY['', 'detected', 'generating', 'uploading', 'ready'], ARRAY["
        "'detected', 'generating', 'uploading', 'ready', 'revealed']) AS move(before, after) "
        "WHERE status = 'revealed' OR after = 'detected' OR after = status",
        token_id="token_id",
        from_status="before",
        to_status="after",
        attempt="1",
        actor="'drain'",
        created_at="mint_timestamp",
    )


def make_reveals(f: Filler) -> None:
    from reveals.models import RevealBatch, RevealBatchToken, RevealTransaction

    keeper = _WALLET.format("9")
    whole = f"(SELECT (token_id - 1) / {f.batch} + 1 AS batch, token_id, status, metadata_cid, "
    whole += "revealed_at FROM tokens_s0 WHERE status IN ('revealed', 'ready')) AS t"
    f.insert(
        RevealBatch,
        f"(SELECT batch, bool_or(status = 'ready') AS is_open, max(revealed_at) AS at "
        f"FROM {whole} GROUP BY batch) AS b",
        id="batch",
        keeper=keeper,
        nonce="batch",
        status="CASE WHEN is_open THEN 'open' ELSE 'confirmed' END",
        created_at="coalesce(at, now())",
        closed_at="CASE WHEN NOT is_open THEN at END",
        settled_at="CASE WHEN NOT is_open THEN at END",
    )
    f.execute("SELECT setval('reveal_batches_id_seq', (SELECT max(id) FROM reveal_batches))")
    f.insert(
        RevealBatchToken,
        f"{whole} ORDER BY token_id",
        batch_id="batch",
        token_id="token_id",
        position=f"(token_id - 1) % {f.batch}",
        metadata_uri="'ipfs://' || metadata_cid",
        is_open="status = 'ready'",
    )
    f.insert(
        RevealTransaction,
        "(SELECT b.id, b.status, b.created_at, array_agg(i.token_id ORDER BY i.position) AS ids, "
        "array_agg(i.metadata_uri ORDER BY i.position) AS uris FROM reveal_batches b "
        "JOIN reveal_batch_tokens i ON i.batch_id = b.id GROUP BY b.id) AS b",
        batch_id="id",
        tx_hash=_HASH.format("('r' || id)"),
        keeper=keeper,
        nonce="id",
        token_ids="ids",
        metadata_uris="uris",
        raw_transaction="decode(repeat('02', 5000), 'hex')",
        gas_limit="6000000",
        max_fee_per_gas_wei="20000000",
        max_priority_fee_per_gas_wei="1000000",
        status="CASE status WHEN 'open' THEN 'broadcast' ELSE 'confirmed' END",
        signed_at="created_at",
        broadcast_at="created_at",
        confirmed_at="created_at",
        block_number="1000 + id * 500",
        block_hash=_HASH.format("('c' || id)"),
        gas_used="4600000",
        effective_gas_price_wei="8000000",
    )


def make_surroundings(f: Filler) -> None:
    from glisk.models import SystemState, WorkerHeartbeat
    from webhooks.models import WebhookEvent

    f.insert(
        WebhookEvent,
        "mint_events",
        event_id="'whevt_' || id",
        event_type="'GRAPHQL'",
        body="decode(repeat('20', 800), 'hex')",
        status="'processed'",
        verdicts="""'[{"log_index": 5, "verdict": "registered"}]'""",
        received_at="block_timestamp",
        last_delivery_at="block_timestamp",
        processed_at="block_timestamp + interval '4 ms'",
    )
    for stage in ("pipeline", "reveal", "supervisor"):
        f.insert(
            WorkerHeartbeat,
            "(SELECT 1) AS one",
            owner=f"'machine:1:2:{stage}'",
            host="'machine'",
            main_pid="1",
            pid="2",
            stage=f"'{stage}'",
            started_at="now()",
            beat_at="now()",
        )
    for key, value in {
        "last_processed_block": {"block": 10_001_000, "head": 10_001_000},
        "recovery": {"known_below": f.tokens + 1, "tiled_below": f.tokens + 1},
    }.items():
        f.insert(
            SystemState,
            "(SELECT 1) AS one",
            state_key=f"'{key}'",
            state_value=f"'{json.dumps(value)}'",
        )


def _cid(prefix: str, length: int, kind: str) -> str:
    text = f"'{kind}' || id"
    return f"'{prefix}' || left(md5({text}) || md5('x' || {text}), {length})"


def _png() -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(out, "PNG")
    return out.getvalue().hex()

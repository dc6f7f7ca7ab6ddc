"""Tokens come to be by their mint, get another mint or author, and go with their mint.

So with their reveal: whose transaction it was, and what a reorg changes about that.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.db.models import OuterRef, Subquery

from authors.models import Author
from tokens.minting.mint_log import MintLog
from tokens.models import MintEvent, Token
from tokens.states import RECALLS, TokenStatus
from tokens.transitions import PIPELINE_CHANNEL
from tokens.transitions.status import Move, as_json, move_tokens, note

# What Python's strip() takes off: an author with such a prompt has none (Author.has_prompt).
_BLANK: Final = "".join(filter(str.isspace, map(chr, range(0x3001))))


@dataclass(frozen=True)
class NewTokens:
    """`quantity` tokens from `first_id` on; without a mint event, its log was not found yet."""

    mint_event_id: int | None
    first_id: int
    quantity: int
    wallet: str  # of the prompt author, EIP-55
    minter: str
    minted_at: datetime
    reason: str


# The prompt to freeze is the author's own, else the default author's, else the setting's.
# LATERAL: one index lookup per mint, whatever plan was kept.
_CREATE = """
    WITH default_author AS (
        SELECT id, CASE WHEN btrim(prompt_text, %(blank)s) = '' THEN %(prompt)s
                        ELSE prompt_text END AS prompt
        FROM authors WHERE lower(wallet_address) = %(default_wallet)s
    ), mint AS (
        SELECT v.*, coalesce(a.id, d.id) AS author_id,
               CASE WHEN btrim(a.prompt_text, %(blank)s) <> '' THEN a.prompt_text
                    ELSE d.prompt END AS prompt
        FROM jsonb_to_recordset(%(wanted)s::jsonb)
            AS v(mint_event_id bigint, first_id bigint, quantity integer, wallet text,
                 minter text, minted_at timestamptz, reason text)
        CROSS JOIN default_author d
        LEFT JOIN LATERAL (
            SELECT id, prompt_text
            FROM authors WHERE lower(wallet_address) = lower(v.wallet) LIMIT 1
        ) a ON true
    ), wanted AS (
        SELECT mint.*, token_id
        FROM mint CROSS JOIN generate_series(first_id, first_id + quantity - 1) AS token_id
    ), created AS (
        INSERT INTO tokens_s0
            (token_id, author_id, prompt_author_wallet, minter_address, mint_event_id,
             mint_timestamp, prompt, status, status_changed_at, generation_attempts,
             fallback_used, error_class, error_log, attempts, created_at, updated_at)
        SELECT token_id, author_id, wallet, minter, mint_event_id, minted_at,
               prompt, %(status)s, clock_timestamp(), 0, false, '', '[]', 0, clock_timestamp(),
               clock_timestamp()
        FROM wanted ORDER BY token_id
        ON CONFLICT (token_id) DO NOTHING
        RETURNING token_id, mint_event_id
    ), timeline AS (
        INSERT INTO token_transitions
            (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
        SELECT c.token_id, '', %(status)s, w.reason, 0, %(actor)s, %(detail)s::jsonb,
               clock_timestamp()
        FROM created c JOIN wanted w ON w.token_id = c.token_id
            AND w.mint_event_id IS NOT DISTINCT FROM c.mint_event_id
    )
    SELECT mint_event_id, token_id, pg_notify(%(channel)s, '') FROM created
    UNION ALL SELECT NULL, NULL, NULL WHERE NOT EXISTS (SELECT FROM default_author)
"""


def create_tokens(
    wanted: Sequence[NewTokens],
    *,
    actor: str,
    detail: dict[str, Any] | None = None,
) -> dict[int | None, list[int]]:
    """Insert tokens and the start of their timelines, in one statement.

    Returns the ids of the tokens that are new, by mint event. Ids that exist stay as they are.
    The pipeline hears of new ones at the commit.
    """
    if not wanted:
        return {}
    parameters = {
        "blank": _BLANK,
        "prompt": settings.DEFAULT_PROMPT,
        "default_wallet": settings.GLISK_DEFAULT_AUTHOR_WALLET.lower(),
        "wanted": as_json(vars(tokens) for tokens in wanted),
        "status": TokenStatus.DETECTED.value,
        "actor": actor,
        "detail": json.dumps(detail or {}),
        "channel": PIPELINE_CHANNEL,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CREATE, parameters)
        rows = cursor.fetchall()
        if rows and rows[0][1] is None:  # nothing is done: there is no default author
            Author.objects.default()  # makes it; from now on it is found
            cursor.execute(_CREATE, parameters)
            rows = cursor.fetchall()
    created: dict[int | None, list[int]] = {}
    for mint_event_id, token_id, _ in rows:
        created.setdefault(mint_event_id, []).append(token_id)
    return created


def complete_tokens(mints: Sequence[tuple[int, MintLog]], *, actor: str) -> dict[int, list[int]]:
    """Give tokens that have no mint theirs, if the author is the same; return them by mint.

    They were found in the contract, which tells no minter, or lost their mint to a reorg.
    """
    sql = """
        WITH mint AS (
            SELECT * FROM json_to_recordset(%s::json)
                AS v(mint_event_id bigint, start_token_id bigint, quantity integer,
                     prompt_author text, minter text, block_timestamp timestamptz, tx_hash text)
        ), completed AS (
            UPDATE tokens_s0 t
            SET mint_event_id = v.mint_event_id, minter_address = v.minter,
                mint_timestamp = v.block_timestamp, updated_at = clock_timestamp()
            FROM mint v
            WHERE t.mint_event_id IS NULL AND t.prompt_author_wallet = v.prompt_author
              AND t.token_id >= v.start_token_id AND t.token_id < v.start_token_id + v.quantity
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
    rows = as_json({"mint_event_id": pk, **vars(log)} for pk, log in mints)
    completed: dict[int, list[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [rows, actor])
        for mint_event_id, token_id in cursor.fetchall():
            completed.setdefault(mint_event_id, []).append(token_id)
    return completed


def give_waiting_tokens(author: Author) -> int:
    """Give an author and their prompt to what waits of their wallet with the default author."""
    return Token.objects.filter(
        prompt_author_wallet=author.wallet_address,
        author__wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET,
        status=TokenStatus.DETECTED,
    ).update(author=author, prompt=author.prompt_text)


def attribute_token(token_id: int, *, wallet: str) -> None:
    """Attribute a token to the author whom the chain names, or to the default author."""
    author = Author.objects.by_wallet(wallet).first() or Author.objects.default()
    Token.objects.filter(pk=token_id).update(prompt_author_wallet=wallet, author=author)


def detach_from_mint(tokens: Sequence[Token], *, reason: str, actor: str) -> None:
    """Keep tokens whose mint the chain does not know any more; they wait for another."""
    Token.objects.filter(pk__in=[token.pk for token in tokens]).update(mint_event=None)
    note(tokens, reason=reason, actor=actor)


def delete_tokens(tokens: Sequence[Token], *, reason: str, actor: str) -> None:
    """Delete tokens that the chain does not know any more; their timeline stays."""
    note(tokens, reason=reason, actor=actor, to_status="")
    Token.objects.filter(pk__in=[token.pk for token in tokens]).delete()


def change_mint(before: MintEvent, after: MintEvent, *, minted_at: datetime) -> None:
    """Hang the tokens of one mint on another, which is the same mint stored twice."""
    before.tokens.update(mint_event=after, mint_timestamp=minted_at)


def take_mint_times(mint_event_ids: Sequence[int]) -> None:
    """Give tokens the time of the block that their mint stands in now."""
    mint = MintEvent.objects.filter(pk=OuterRef("mint_event_id"))
    Token.objects.filter(mint_event__in=mint_event_ids).update(
        mint_timestamp=Subquery(mint.values("block_timestamp"))
    )


def name_transactions(found: Mapping[int, tuple[str | None, datetime | None]]) -> None:
    """Give tokens that others revealed, by what was not known yet, its hash and time."""
    rows = [{"token_id": pk, "tx_hash": tx, "revealed_at": at} for pk, (tx, at) in found.items()]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tokens_s0 t SET reveal_tx_hash = v.tx_hash, "
            "revealed_at = COALESCE(t.revealed_at, v.revealed_at) "
            "FROM json_to_recordset(%s::json) "
            "AS v(token_id bigint, tx_hash text, revealed_at timestamptz) "
            "WHERE t.token_id = v.token_id AND t.status = 'revealed' "
            "AND t.reveal_tx_hash IS NULL AND t.adopted_uri IS NOT NULL",
            [as_json(rows)],
        )


def claim_adopted(uris: Mapping[int, str], *, tx_hash: str, revealed_at: datetime) -> None:
    """Enter our transaction for tokens that were found revealed with its URI: it was ours."""
    rows = as_json({"token_id": token_id, "uri": uri} for token_id, uri in uris.items())
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tokens_s0 t SET reveal_tx_hash = %(hash)s, adopted_uri = NULL, "
            "revealed_at = COALESCE(t.revealed_at, %(revealed_at)s), "
            "updated_at = clock_timestamp() "
            "FROM json_to_recordset(%(rows)s::json) AS v(token_id bigint, uri text) "
            "WHERE t.token_id = v.token_id AND t.status = 'revealed' AND t.adopted_uri = v.uri "
            "AND t.image_cid IS NOT NULL AND COALESCE(t.reveal_tx_hash, %(hash)s) = %(hash)s",
            {"hash": tx_hash, "revealed_at": revealed_at, "rows": rows},
        )


def recall_reveals(
    tokens: Sequence[Token], *, tx_hash: str, block_number: int | None, actor: str
) -> set[int]:
    """Make tokens ready again whose reveal a reorg took back; return which."""
    moves = [
        Move(
            token_id=token.token_id,
            reason=f"a reorg took its reveal {tx_hash} back: it is pending again",
            fields={"reveal_tx_hash": None, "revealed_at": None},
            detail={"tx_hash": tx_hash, "block_number": block_number},
        )
        for token in tokens
    ]
    return move_tokens(
        moves, source=TokenStatus.REVEALED, target=TokenStatus.READY, actor=actor, allowed=RECALLS
    )


def change_reveal(
    token: Token, *, what: str, actor: str, tx_hash: str | None, uri: str | None = None
) -> None:
    """Note another transaction after a reorg; `uri`: it is of others, and wrote this.

    Whose it is and when it was, the logs of the chain will tell.
    """
    if token.reveal_tx_hash == tx_hash:
        return
    Token.objects.filter(pk=token.pk).update(reveal_tx_hash=tx_hash, adopted_uri=uri)
    note(
        [token], reason=f"a reorg took its reveal {token.reveal_tx_hash} back; {what}", actor=actor
    )

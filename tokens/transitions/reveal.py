"""Which transaction revealed a token: ours, that of others, another one after a reorg."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import connection

from tokens.models import Token
from tokens.states import TokenStatus
from tokens.transitions.status import Move, move_tokens
from tokens.transitions.timeline import note


def name_transactions(found: Mapping[int, tuple[str, datetime | None]]) -> None:
    """Give tokens that others revealed, by what was not known yet, its hash and time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tokens_s0 t SET reveal_tx_hash = v.tx_hash, "
            "revealed_at = COALESCE(t.revealed_at, v.revealed_at) "
            "FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[]) "
            "AS v(token_id, tx_hash, revealed_at) "
            "WHERE t.token_id = v.token_id AND t.status = 'revealed' "
            "AND t.reveal_tx_hash IS NULL AND t.adopted_uri IS NOT NULL",
            [
                list(found),
                [tx_hash for tx_hash, _ in found.values()],
                [revealed_at for _, revealed_at in found.values()],
            ],
        )


def claim_adopted(uris: Mapping[int, str], *, tx_hash: str, revealed_at: datetime) -> None:
    """Enter our transaction for tokens that were found revealed with its URI: it was ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tokens_s0 t SET reveal_tx_hash = %(hash)s, adopted_uri = NULL, "
            "revealed_at = COALESCE(t.revealed_at, %(revealed_at)s), "
            "updated_at = clock_timestamp() "
            "FROM unnest(%(ids)s::bigint[], %(uris)s::text[]) AS v(token_id, uri) "
            "WHERE t.token_id = v.token_id AND t.status = 'revealed' AND t.adopted_uri = v.uri "
            "AND t.image_cid IS NOT NULL AND COALESCE(t.reveal_tx_hash, %(hash)s) = %(hash)s",
            {
                "hash": tx_hash,
                "revealed_at": revealed_at,
                "ids": list(uris),
                "uris": list(uris.values()),
            },
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
        moves, source=TokenStatus.REVEALED, target=TokenStatus.READY, actor=actor, recalls=True
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

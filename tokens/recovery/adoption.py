"""Tokens that are revealed already: taken as they are on chain, and nothing is paid for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from glisk.cid import is_cid
from glisk.clients.mint_reader import MintReader, OnChainToken
from tokens.models import Token
from tokens.moves import Move, move_tokens
from tokens.states import TokenStatus

FACTS_AT_ONCE = 500


def unknown_ids(token_ids: Iterable[int]) -> list[int]:
    """Return the ids that have no row yet."""
    wanted = sorted(set(token_ids))
    known = set(Token.objects.filter(token_id__in=wanted).values_list("token_id", flat=True))
    return [token_id for token_id in wanted if token_id not in known]


def revealed_facts(reader: MintReader, token_ids: list[int]) -> dict[int, OnChainToken]:
    """Return the facts of those tokens that the contract calls revealed, in batches."""
    revealed: list[int] = []
    for start in range(0, len(token_ids), FACTS_AT_ONCE):
        revealed += reader.revealed(token_ids[start : start + FACTS_AT_ONCE])
    facts: dict[int, OnChainToken] = {}
    for start in range(0, len(revealed), FACTS_AT_ONCE):
        facts |= reader.tokens(revealed[start : start + FACTS_AT_ONCE])
    return {token_id: token for token_id, token in facts.items() if token.revealed}


def adopt_revealed(
    facts: Mapping[int, OnChainToken],
    *,
    source: TokenStatus,
    actor: str,
    tx_hashes: Mapping[int, str] | None = None,
) -> set[int]:
    """Mark tokens in state `source` as revealed with the URI that is on chain; return which."""
    moves = [
        Move(
            token_id=token_id,
            reason=f"revealed on chain already, with {token.uri or 'an empty URI'}",
            fields={
                "adopted_uri": token.uri,
                "metadata_cid": cid_of(token.uri),
                "reveal_tx_hash": (tx_hashes or {}).get(token_id),
                "generation_error": None,
                "error_class": "",
            },
        )
        for token_id, token in sorted(facts.items())
    ]
    return move_tokens(moves, source=source, target=TokenStatus.REVEALED, actor=actor, adopts=True)


def cid_of(uri: str) -> str | None:
    """Return the CID of an `ipfs://` URI, or None if it is anything else."""
    cid = uri.removeprefix("ipfs://")
    return cid if cid != uri and is_cid(cid) else None

"""Tokens that are revealed already: taken as they are on chain, and nothing is paid for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from glisk.cid import is_cid
from glisk.clients.chain import ChainClient, OnChainToken
from tokens.models import Token
from tokens.recovery.withdrawal import close_jobs_of
from tokens.registry import in_flight
from tokens.states import ADOPTABLE, TokenStatus
from tokens.transitions.status import Move, move_tokens

FACTS_AT_ONCE = 500


@dataclass(frozen=True)
class RevealLog:
    """Where the chain says that a token was revealed; either may be unknown."""

    tx_hash: str | None
    revealed_at: datetime | None


def unknown_ids(token_ids: Iterable[int]) -> list[int]:
    """Return the ids that have no row yet."""
    wanted = sorted(set(token_ids))
    known = set(Token.objects.filter(token_id__in=wanted).values_list("token_id", flat=True))
    return [token_id for token_id in wanted if token_id not in known]


def adoptable(token_ids: Iterable[int]) -> set[int]:
    """Return those that are neither revealed here nor in a transaction of ours."""
    # In this order: a transaction of ours that ends in between shows in the state.
    others = set(token_ids)
    others -= in_flight(others)
    found = Token.objects.filter(token_id__in=others, status__in=ADOPTABLE)
    return set(found.values_list("token_id", flat=True))


def revealed_facts(reader: ChainClient, token_ids: list[int]) -> dict[int, OnChainToken]:
    """Return the facts of those tokens that the contract calls revealed, in batches."""
    revealed = reader.revealed(token_ids)
    facts: dict[int, OnChainToken] = {}
    for start in range(0, len(revealed), FACTS_AT_ONCE):
        facts |= reader.tokens(revealed[start : start + FACTS_AT_ONCE])
    return {token_id: token for token_id, token in facts.items() if token.revealed}


def adopt(
    facts: Mapping[int, OnChainToken],
    *,
    actor: str,
    logs: Mapping[int, RevealLog] | None = None,
) -> set[int]:
    """Mark tokens that others revealed as revealed, whatever their state here; return which.

    A token in a transaction of ours that is under way is left to that transaction's receipt.
    What was generated for a token stays with it if the URI on chain is ours; otherwise it is
    not this token's picture, and only the books keep it.
    """
    if not facts:
        return set()
    adopted: set[int] = set()
    with transaction.atomic():
        tokens = Token.objects.select_for_update().filter(
            token_id__in=list(facts), status__in=ADOPTABLE
        )
        rows = {token.token_id: token for token in tokens.order_by("token_id")}
        for token_id in in_flight(rows):
            del rows[token_id]
        for state in sorted({token.status for token in rows.values()}):
            adopted |= move_tokens(
                [
                    _move(token, facts[token_id], (logs or {}).get(token_id))
                    for token_id, token in rows.items()
                    if token.status == state
                ],
                source=TokenStatus(state),
                target=TokenStatus.REVEALED,
                actor=actor,
                adopts=True,
            )
        close_jobs_of(sorted(adopted), why="the token is revealed on chain already")
    return adopted


def _move(token: Token, facts: OnChainToken, log: RevealLog | None) -> Move:
    ours = token.token_uri == facts.uri
    cid = facts.uri.removeprefix("ipfs://")
    is_ipfs = cid != facts.uri and is_cid(cid) and len(cid) <= 100
    return Move(
        token_id=token.pk,
        reason=f"revealed on chain already, with {facts.uri or 'an empty URI'}",
        fields={
            "adopted_uri": facts.uri,
            "metadata_cid": cid if is_ipfs else None,
            "image_cid": token.image_cid if ours else None,
            "image_url": token.image_url if ours else None,
            "reveal_tx_hash": log.tx_hash if log else None,
            "revealed_at": log.revealed_at if log else None,
            "generation_error": None,
            "error_class": "",
        },
    )

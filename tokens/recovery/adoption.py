"""Tokens that are revealed already: taken as they are on chain, and nothing is paid for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import transaction

from glisk.cid import is_cid
from glisk.clients.chain import ChainClient, OnChainToken
from tokens.models import Token
from tokens.recovery.withdrawal import close_jobs_of
from tokens.registry import in_flight
from tokens.states import ADOPTIONS, TokenStatus
from tokens.transitions.status import Move, move_tokens

FACTS_AT_ONCE = 500


class RevealLog(NamedTuple):
    """Where the chain says that a token was revealed."""

    tx_hash: str | None = None
    revealed_at: datetime | None = None


def unknown_ids(token_ids: Iterable[int]) -> list[int]:
    """Return the ids that have no row yet."""
    wanted = set(token_ids)
    known = Token.objects.filter(token_id__in=wanted).values_list("token_id", flat=True)
    return sorted(wanted.difference(known))


def adoptable(token_ids: Iterable[int]) -> set[int]:
    """Return those that are neither revealed here nor in a transaction of ours."""
    # In this order: a transaction of ours that ends in between shows in the state.
    others = set(token_ids)
    others -= in_flight(others)
    found = Token.objects.filter(token_id__in=others, status__in=list(ADOPTIONS))
    return set(found.values_list("token_id", flat=True))


def revealed_facts(reader: ChainClient, token_ids: Sequence[int]) -> dict[int, OnChainToken]:
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
        found = Token.objects.select_for_update().filter(
            token_id__in=facts, status__in=list(ADOPTIONS)
        )
        tokens = list(found.order_by("token_id"))
        busy = in_flight(token.pk for token in tokens)
        for state in sorted({token.status for token in tokens}):
            moves = [
                _move(token, facts[token.pk], (logs or {}).get(token.pk, RevealLog()))
                for token in tokens
                if token.status == state and token.pk not in busy
            ]
            adopted |= move_tokens(
                moves,
                source=TokenStatus(state),
                target=TokenStatus.REVEALED,
                actor=actor,
                allowed=ADOPTIONS,
            )
        close_jobs_of(sorted(adopted), why="the token is revealed on chain already")
    return adopted


def _move(token: Token, facts: OnChainToken, log: RevealLog) -> Move:
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
            "reveal_tx_hash": log.tx_hash,
            "revealed_at": log.revealed_at,
            "generation_error": None,
            "error_class": "",
        },
    )

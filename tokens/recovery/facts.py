"""Tokens taken from what the contract says of them, where no log could be had.

They have no mint event: minter and time are stand-ins (the owner of now, the time of now) until
their log is found and registration completes them. The contract is asked at a block that has
MINT_CONFIRMATIONS, since nothing else would hold such a token back from its reveal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from django.conf import settings
from django.db import connection, transaction

from glisk.clients.mint_reader import BlockFacts, MintReader, OnChainToken
from glisk.fields import normalise_address
from tokens.recovery.adoption import adopt_new
from tokens.transitions.creation import NewTokens, create_tokens

ACTOR = "contract"


def register_from_contract(
    reader: MintReader, token_ids: Sequence[int], head: BlockFacts
) -> tuple[list[int], list[int]]:
    """Create the tokens that exist for long enough; return the ids created and those adopted.

    All by one batch of calls. Raises the errors of the reader.
    """
    confirmed = max(0, head.number - int(settings.MINT_CONFIRMATIONS) + 1)
    tokens = reader.tokens(token_ids, block=confirmed)
    return _register([token for token in tokens.values() if token.exists], head)


def _register(facts: Sequence[OnChainToken], head: BlockFacts) -> tuple[list[int], list[int]]:
    if not facts:
        return [], []
    with transaction.atomic():
        with connection.cursor() as cursor:
            # As registration does by its insert: an author who registers now waits for us, and
            # then finds these tokens (tokens.minting.authorship).
            cursor.execute("LOCK TABLE mint_events IN ROW EXCLUSIVE MODE")
        found_at = datetime.fromtimestamp(head.timestamp, tz=UTC)
        wanted = [_new_token(token, found_at) for token in facts]
        created = set(create_tokens(wanted, actor=ACTOR).get(None, []))
        revealed = {t.token_id: t for t in facts if t.revealed and t.token_id in created}
        adopted = adopt_new(revealed, actor=ACTOR)
    return sorted(created), sorted(adopted)


def _new_token(facts: OnChainToken, found_at: datetime) -> NewTokens:
    return NewTokens(
        mint_event_id=None,
        first_id=facts.token_id,
        quantity=1,
        wallet=normalise_address(facts.prompt_author),
        minter=normalise_address(facts.owner),
        minted_at=found_at,
        reason="found in the contract, without a log",
    )

"""Compare everything that the database holds of mints with the model chain."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from authors.tests.factories import wallet
from tokens.models import ImageGenerationJob, MintEvent, Token, TokenTransition
from tokens.states import TokenStatus
from tokens.tests.recovery.model_chain import ModelChain, PlacedMint
from webhooks.models import EventStatus, WebhookEvent

REGISTERED = {wallet(0xA1): "a fox in the snow", wallet(0xA2): "a lighthouse at night"}
DEFAULT_AUTHOR = wallet(0xAD)
DEFAULT_PROMPT = "the default prompt"

_MINT = (
    "tx_hash",
    "log_index",
    "block_number",
    "block_hash",
    "block_timestamp",
    "minter",
    "prompt_author",
    "start_token_id",
    "quantity",
    "settled_at",
)
_TOKEN = (
    "token_id",
    "prompt_author_wallet",
    "minter_address",
    "mint_timestamp",
    "author__wallet_address",
    "mint_event__tx_hash",
    "mint_event__start_token_id",
    "status",
    "prompt",
)


def differences(chain: ModelChain, paid: Collection[str], *, reorged: bool) -> list[str]:
    """Say in words where the database differs from the chain; nothing if it does not.

    `paid`: the names of all predictions that were paid for, which the books must still hold.
    `reorged`: the chain has changed its mind, without which no token is ever withdrawn.
    """
    mints = chain.mints()
    books = ImageGenerationJob.objects.values_list("external_id", flat=True) if paid else ()
    undone = WebhookEvent.objects.exclude(status__in=[EventStatus.PROCESSED, EventStatus.IGNORED])
    withdrawn = () if reorged else TokenTransition.objects.filter(to_status="")
    return [
        *(f"withdrawn without a reorg: {each.token_id}, {each.reason}" for each in withdrawn),
        *_unequal("mint", _stored_mints(), map(_mint, mints)),
        *_unequal("token", *_tokens(chain)),
        *_unequal("paid prediction", books, paid),
        *(f"event left {status}: {why}" for status, why in undone.values_list("status", "error")),
    ]


def _unequal(what: str, stored: Iterable[object], wanted: Iterable[object]) -> list[str]:
    here, there = list(stored), set(wanted)
    told = [f"{what} here, not on chain: {each}" for each in here if each not in there]
    told += [f"{what} on chain, not here: {each}" for each in there.difference(here)]
    return told or ([f"a {what} stands here twice"] if len(here) != len(there) else [])


def _stored_mints() -> list[tuple[object, ...]]:
    rows = MintEvent.objects.values_list(*_MINT)
    return [(*facts, settled_at is not None) for *facts, settled_at in rows]


def _mint(placed: PlacedMint) -> tuple[object, ...]:
    return (
        placed.tx_hash,
        placed.log_index,
        placed.block.number,
        placed.block.block_hash,
        datetime.fromtimestamp(placed.block.timestamp, tz=UTC),
        placed.mint.minter,
        placed.mint.author,
        placed.start,
        placed.mint.quantity,
        True,  # settled
    )


def _tokens(chain: ModelChain) -> tuple[list[object], list[object]]:
    """Return the tokens here and on chain; art that is on chain keeps its own prompt."""
    revealed = chain.revealed()
    here: list[object] = [
        (*facts, status == TokenStatus.REVEALED, None if token_id in revealed else prompt)
        for token_id, *rest, status, prompt in Token.objects.values_list(*_TOKEN)
        for facts in [(token_id, *rest)]
    ]
    there: list[object] = [
        (
            token_id,
            placed.mint.author,
            placed.mint.minter,
            datetime.fromtimestamp(placed.block.timestamp, tz=UTC),
            placed.mint.author if placed.mint.author in REGISTERED else DEFAULT_AUTHOR,
            placed.tx_hash,
            placed.start,
            token_id in revealed,
            None if token_id in revealed else REGISTERED.get(placed.mint.author, DEFAULT_PROMPT),
        )
        for placed in chain.mints()
        for token_id in placed.token_ids
    ]
    return here, there

"""Factories of mints and tokens, for the tests of every app.

`TokenFactory.create(status=TokenStatus.READY)` makes a token in any state, with the columns that
the database demands of that state, and the mint that it came from. `mint_event=None` spares the
mint. Token ids count up, unless a test gives them.
"""

from datetime import timedelta
from typing import Literal

import factory
from django.utils import timezone

from authors.tests.factories import AuthorFactory, wallet
from glisk.cid import compute_cid
from tokens.models import MintEvent, Token
from tokens.models.mint import MintSource
from tokens.models.token import WITH_IMAGE, WITH_METADATA
from tokens.states import TokenStatus


def hash32(number: int) -> str:
    """Return a 32-byte hash of its own for every number."""
    return f"0x{number:064x}"


class MintEventFactory(factory.django.DjangoModelFactory[MintEvent]):
    """A mint of one token in a block of its own."""

    class Meta:
        model = MintEvent

    tx_hash = factory.Sequence(lambda n: hash32(0x7A000000 + n))
    log_index = 1
    block_number = factory.Sequence(lambda n: 1000 + n)
    block_hash = factory.LazyAttribute(lambda mint: hash32(0xB1000000 + mint.block_number))
    block_timestamp = factory.LazyFunction(timezone.now)
    minter = factory.Sequence(lambda n: wallet(0xC0000000 + n))
    prompt_author = factory.Sequence(lambda n: wallet(0xA1000000 + n))
    start_token_id = factory.Sequence(lambda n: 1 + n)
    quantity = 1
    total_paid_wei = factory.LazyAttribute(lambda mint: 250_000_000_000_000 * mint.quantity)
    source = MintSource.WEBHOOK


class TokenFactory(factory.django.DjangoModelFactory[Token]):
    """A token of a registered author, in the state that is asked for."""

    class Meta:
        model = Token

    token_id = factory.Sequence(lambda n: 1 + n)
    author = factory.SubFactory(AuthorFactory)
    prompt_author_wallet = factory.LazyAttribute(lambda token: token.author.wallet_address)
    minter_address = factory.Sequence(lambda n: wallet(0xC1000000 + n))
    mint_timestamp = factory.LazyFunction(lambda: timezone.now() - timedelta(minutes=1))
    mint_event = factory.SubFactory(
        MintEventFactory,
        start_token_id=factory.SelfAttribute("..token_id"),
        minter=factory.SelfAttribute("..minter_address"),
        prompt_author=factory.SelfAttribute("..prompt_author_wallet"),
        block_timestamp=factory.SelfAttribute("..mint_timestamp"),
    )
    prompt = factory.LazyAttribute(lambda token: token.author.prompt_text)
    status = TokenStatus.DETECTED

    image_cid = factory.LazyAttribute(
        lambda token: _cid("image", token.token_id, 1) if token.status in WITH_IMAGE else None
    )
    metadata_cid = factory.LazyAttribute(
        lambda token: _cid("metadata", token.token_id, 0) if token.status in WITH_METADATA else None
    )
    reveal_tx_hash = factory.LazyAttribute(
        lambda token: (
            hash32(0x4E000000 + token.token_id) if token.status == TokenStatus.REVEALED else None
        )
    )
    revealed_at = factory.LazyAttribute(
        lambda token: timezone.now() if token.status == TokenStatus.REVEALED else None
    )
    generation_error = factory.LazyAttribute(
        lambda token: "The vendor refused it." if token.status == TokenStatus.FAILED else None
    )
    error_class = factory.LazyAttribute(
        lambda token: "permanent" if token.status == TokenStatus.FAILED else ""
    )


def _cid(kind: str, token_id: int, version: Literal[0, 1]) -> str:
    """Return a well-formed CID that belongs to no bytes that a test stores."""
    return compute_cid(f"{kind} of token {token_id}".encode(), version=version)

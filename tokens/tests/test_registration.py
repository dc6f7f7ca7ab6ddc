"""Mints become tokens once: whole, with the right author and prompt, whatever came before."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries, Settings

from authors.models import Author
from authors.tests.factories import AuthorFactory, wallet
from glisk.tests.database import database_url
from tokens.minting.mint_log import MintLog
from tokens.minting.registration import MintOutcome, MintResult, register_mints
from tokens.models import MintEvent, Token, TokenTransition
from tokens.models.mint import MintSource
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32

pytestmark = pytest.mark.django_db

MINTED_AT = datetime(2026, 2, 1, 12, 30, tzinfo=UTC)


def mint_log(**facts: Any) -> MintLog:
    log = MintLog(
        tx_hash=hash32(0x71),
        log_index=2,
        block_number=45,
        block_hash=hash32(0xB1),
        block_timestamp=MINTED_AT,
        minter=wallet(0xCC),
        prompt_author=wallet(0xAA),
        start_token_id=1,
        quantity=1,
        total_paid_wei=250_000_000_000_000,
    )
    return replace(log, **facts)


def register(*logs: MintLog) -> list[MintOutcome]:
    return register_mints(logs, source=MintSource.WEBHOOK, actor="test")


def results(outcomes: list[MintOutcome]) -> list[str]:
    return [outcome.result.value for outcome in outcomes]


def token_ids() -> list[int]:
    return list(Token.objects.order_by("token_id").values_list("token_id", flat=True))


@pytest.fixture(autouse=True)
def default_author(settings: Settings) -> Author:
    return AuthorFactory.create(
        wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET, prompt_text="the default prompt"
    )


def test_a_mint_is_stored_and_each_of_its_tokens_detected() -> None:
    author = AuthorFactory.create(wallet_address=wallet(0xAA), prompt_text="a fox in the snow")
    log = mint_log(start_token_id=7, quantity=3, total_paid_wei=2**256 - 1)
    [outcome] = register(log)
    assert (outcome.result, outcome.created) == (MintResult.REGISTERED, (7, 8, 9))
    mint = MintEvent.objects.get()
    assert {name: getattr(mint, name) for name in vars(log)} == vars(log)
    assert mint.source == MintSource.WEBHOOK
    for token in Token.objects.all():
        assert (token.status, token.mint_event) == (TokenStatus.DETECTED, mint)
        assert (token.author, token.prompt) == (author, "a fox in the snow")
        assert (token.prompt_author_wallet, token.minter_address) == (wallet(0xAA), wallet(0xCC))
        assert (token.mint_timestamp, token.error_log) == (MINTED_AT, [])
        assert token.lease_owner is None
        beginning = token.transitions.get()
        assert (beginning.from_status, beginning.to_status) == ("", TokenStatus.DETECTED)
        assert (beginning.actor, beginning.detail) == ("test", {"source": "webhook"})
        assert hash32(0x71) in beginning.reason


def test_an_author_is_found_whatever_the_letter_case() -> None:
    author = AuthorFactory.create(wallet_address=wallet(0xABCDEF))
    with connection.cursor() as cursor:  # as an import of older data may have left it
        cursor.execute("UPDATE authors SET wallet_address = lower(wallet_address)")
    register(mint_log(prompt_author=wallet(0xABCDEF)))
    assert Token.objects.get().author_id == author.pk


@pytest.mark.parametrize("unknown", [wallet(0xBEEF), wallet(0)])
def test_an_unknown_author_leaves_the_token_to_the_default_author(
    default_author: Author, unknown: str
) -> None:
    register(mint_log(prompt_author=unknown))
    token = Token.objects.get()
    assert token.author == default_author
    assert token.prompt == "the default prompt"
    assert token.prompt_author_wallet == unknown
    assert not Author.objects.by_wallet(unknown).exists()


@pytest.mark.parametrize("empty", ["", "\u2003\u00a0\n\u3000"])
def test_an_author_without_a_prompt_owns_the_token_with_the_default_prompt(
    settings: Settings, default_author: Author, empty: str
) -> None:
    author = AuthorFactory.create(wallet_address=wallet(0xAA), prompt_text=empty)
    register(mint_log())
    token = Token.objects.get()
    assert (token.author, token.prompt) == (author, "the default prompt")
    settings.DEFAULT_PROMPT = "the configured prompt"
    Author.objects.filter(pk=default_author.pk).update(prompt_text=empty)
    register(mint_log(log_index=9, start_token_id=2))
    assert Token.objects.get(pk=2).prompt == "the configured prompt"


def test_a_missing_default_author_is_created(settings: Settings, default_author: Author) -> None:
    default_author.delete()
    register(mint_log())
    token = Token.objects.get()
    assert token.author.wallet_address == settings.GLISK_DEFAULT_AUTHOR_WALLET
    assert token.prompt == settings.DEFAULT_PROMPT


def test_the_same_mint_again_changes_nothing() -> None:
    register(mint_log(quantity=3))
    Token.objects.update(status=TokenStatus.GENERATING)
    [outcome] = register(mint_log(quantity=3))
    assert outcome == MintOutcome(mint_log(quantity=3), MintResult.DUPLICATE)
    assert MintEvent.objects.count() == 1
    assert TokenTransition.objects.count() == 3
    assert set(Token.objects.values_list("status", flat=True)) == {TokenStatus.GENERATING}


def test_one_outcome_comes_back_per_log_in_their_order() -> None:
    known = mint_log(tx_hash=hash32(0x55), start_token_id=3)
    register(known)
    late = mint_log(tx_hash=hash32(0x99), start_token_id=2)
    early = mint_log(tx_hash=hash32(0x11), start_token_id=1)
    outcomes = register(late, known, early, late)
    assert [outcome.log for outcome in outcomes] == [late, known, early, late]
    assert results(outcomes) == ["registered", "duplicate", "registered", "duplicate"]
    assert [outcome.created for outcome in outcomes] == [(2,), (), (1,), ()]


def test_an_overlap_blocks_nothing_but_the_overlapping_ids() -> None:
    older = TokenFactory.create(token_id=2)
    overlapping = mint_log(quantity=3)
    other = mint_log(log_index=9, start_token_id=4)
    first, second = register(overlapping, other)
    assert first == MintOutcome(overlapping, MintResult.CONFLICT, (1, 3), (2,))
    assert second.result == MintResult.REGISTERED
    assert token_ids() == [1, 2, 3, 4]
    assert Token.objects.get(token_id=2).mint_event == older.mint_event
    assert results(register(overlapping)) == ["conflict"]


def test_the_same_mint_from_another_block_is_a_reorg() -> None:
    register(mint_log())
    moved = mint_log(block_hash=hash32(0xB2), block_number=46)
    assert results(register(moved)) == ["reorged"]
    assert results(register(mint_log())) == ["duplicate"]
    assert MintEvent.objects.get().block_hash == hash32(0xB1)


def test_the_same_log_with_other_tokens_creates_none() -> None:
    register(mint_log())
    [outcome] = register(mint_log(start_token_id=50, quantity=2))
    assert (outcome.result, outcome.conflicting) == (MintResult.CONFLICT, (50, 51))
    assert token_ids() == [1]


def test_contradictory_logs_of_one_call_create_the_first_ones_tokens() -> None:
    outcomes = register(
        mint_log(), mint_log(start_token_id=5), mint_log(block_hash=hash32(0xB2)), mint_log()
    )
    assert results(outcomes) == ["registered", "conflict", "reorged", "duplicate"]
    assert token_ids() == [1]


def test_missing_tokens_of_a_known_mint_are_created() -> None:
    register(mint_log(quantity=3))
    TokenTransition.objects.filter(token_id=2).delete()
    Token.objects.filter(token_id=2).delete()
    [outcome] = register(mint_log(quantity=3))
    assert (outcome.result, outcome.created) == (MintResult.REGISTERED, (2,))
    assert token_ids() == [1, 2, 3]


@pytest.mark.parametrize(("mints", "quantity"), [(1, 1), (40, 5)])
def test_any_number_of_tokens_takes_two_statements(
    django_assert_num_queries: DjangoAssertNumQueries, mints: int, quantity: int
) -> None:
    logs = [
        mint_log(log_index=n, start_token_id=1 + n * quantity, quantity=quantity)
        for n in range(mints)
    ]
    with django_assert_num_queries(2):  # mints; tokens with prompt, timeline and wake-up
        register(*logs)
    assert Token.objects.count() == mints * quantity
    with django_assert_num_queries(2):  # mints; what is known of them
        register(*logs)


@pytest.fixture
def heard() -> Any:
    """Return a function that tells how many wake-ups of the pipeline came since the last call."""
    listener = psycopg.connect(database_url(), autocommit=True)
    listener.execute("LISTEN glisk_pipeline; LISTEN end_of_test")

    def count() -> int:
        listener.execute("NOTIFY end_of_test")  # comes after all that was committed before it
        for number, notice in enumerate(listener.notifies(timeout=60)):
            if notice.channel == "end_of_test":
                return number
        pytest.fail("no notification comes")

    yield count
    listener.close()


@pytest.mark.django_db(transaction=True)
def test_the_commit_of_new_tokens_wakes_the_pipeline(heard: Callable[[], int]) -> None:
    with transaction.atomic():
        register(mint_log(quantity=3))
        assert heard() == 0
    assert heard() == 1
    register(mint_log(quantity=3))
    assert heard() == 0


@pytest.mark.django_db(transaction=True)
def test_a_rollback_takes_everything_back(heard: Callable[[], int]) -> None:
    def fail_after_registering() -> None:
        with transaction.atomic():
            register(mint_log(quantity=3))
            raise RuntimeError("something later in the caller's transaction")

    with pytest.raises(RuntimeError):
        fail_after_registering()
    assert not MintEvent.objects.exists()
    assert not Token.objects.exists()
    assert heard() == 0

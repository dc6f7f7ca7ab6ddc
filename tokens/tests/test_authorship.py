"""Tokens of unknown authors wait for them, as long as no image was asked for."""

import threading

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from eth_account import Account
from eth_account.messages import encode_defunct

from authors.models import Author
from authors.onboarding import write_authors
from tokens.models import Token
from tokens.tests.factories import MintEventFactory, TokenFactory, wallet

WALLET = wallet(0xABC)


def waiting_token(token_id: int, status: str = "detected") -> Token:
    return TokenFactory.create(
        token_id=token_id,
        status=status,
        author=Author.objects.default(),
        prompt_author_wallet=WALLET,
        prompt="the default prompt",
    )


@pytest.mark.django_db
def test_authors_who_are_imported_together_get_theirs() -> None:
    token, started = waiting_token(1), waiting_token(2, status="generating")
    other = Author(wallet_address=wallet(0xDEF), prompt_text="An owl")
    write_authors(
        new=[Author(wallet_address=WALLET, prompt_text="A fox"), other],
        changed=[],
        actor="operator maria",
    )
    for each in (token, started):
        each.refresh_from_db()
    assert (token.author.wallet_address, token.prompt) == (WALLET, "A fox")
    assert (started.author, started.prompt) == (Author.objects.default(), "the default prompt")


@pytest.mark.django_db
def test_a_registering_author_gets_the_tokens_that_wait() -> None:
    waiting_token(1)
    waiting_token(2, "generating")
    author = Author.objects.create(wallet_address=WALLET.lower(), prompt_text="A red fox")
    first, second = Token.objects.order_by("token_id")
    assert (first.author, first.prompt) == (author, "A red fox")
    assert second.author != author  # its image is paid for already
    assert second.prompt == "the default prompt"


@pytest.mark.django_db
def test_an_author_who_registers_by_the_api_gets_them_too(client: Client) -> None:
    waiting_token(1)
    account = Account.from_key("0x" + "11" * 32)
    Token.objects.update(prompt_author_wallet=account.address)
    message = f"Update GLISK prompt for wallet: {account.address}"
    signature = account.sign_message(encode_defunct(text=message)).signature.hex()
    body = {
        "wallet_address": account.address,
        "prompt_text": "A red fox",
        "message": message,
        "signature": f"0x{signature}",
    }
    answer = client.post("/api/authors/prompt", body, content_type="application/json")
    assert answer.status_code == 200, answer.content
    assert Token.objects.get().prompt == "A red fox"
    assert Token.objects.get().author.wallet_address == account.address


@pytest.mark.django_db
def test_an_author_without_a_prompt_takes_nothing_until_there_is_one() -> None:
    waiting_token(1)
    author = Author.objects.create(wallet_address=WALLET, prompt_text="")
    assert Token.objects.get().prompt == "the default prompt"
    author.prompt_text = "A red fox"
    author.save()
    assert Token.objects.get().prompt == "A red fox"


@pytest.mark.django_db
def test_a_linked_handle_does_not_hold_up_registrations() -> None:
    author = Author.objects.create(wallet_address=WALLET, prompt_text="A red fox")
    author.twitter_handle = "fox"
    with CaptureQueriesContext(connection) as queries:
        author.save(update_fields=["twitter_handle"])
    assert not any("LOCK TABLE" in query["sql"] for query in queries)


@pytest.mark.django_db
def test_a_later_edit_of_the_prompt_changes_later_mints_only() -> None:
    author = Author.objects.create(wallet_address=WALLET, prompt_text="A red fox")
    TokenFactory.create(token_id=1, author=author, prompt_author_wallet=WALLET, prompt="A red fox")
    author.prompt_text = "A blue whale"
    author.save()
    assert Token.objects.get().prompt == "A red fox"


@pytest.mark.django_db
def test_the_default_author_does_not_take_tokens_of_others() -> None:
    waiting_token(1)
    default = Author.objects.default()
    default.prompt_text = "Another default"
    default.save()
    assert Token.objects.get().prompt == "the default prompt"
    assert default.wallet_address == settings.GLISK_DEFAULT_AUTHOR_WALLET


@pytest.mark.django_db(transaction=True)
def test_a_mint_under_way_is_waited_for() -> None:
    """The mint read the authors before this one was there, and commits after."""
    default = Author.objects.default()
    registered, finish = threading.Event(), threading.Event()

    def mint() -> None:
        try:
            with transaction.atomic():
                event = MintEventFactory.create(start_token_id=1, quantity=1)
                registered.set()
                finish.wait(60)
                TokenFactory.create(
                    token_id=1,
                    author=default,
                    prompt_author_wallet=WALLET,
                    prompt="the default prompt",
                    mint_event=event,
                )
        finally:
            connection.close()

    thread = threading.Thread(target=mint)
    thread.start()
    assert registered.wait(60)
    threading.Timer(0.2, finish.set).start()
    Author.objects.create(wallet_address=WALLET, prompt_text="A red fox")
    thread.join()
    assert Token.objects.get().prompt == "A red fox"

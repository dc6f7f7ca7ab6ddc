"""An operator adds and edits authors; wallets are checked and written with their checksum."""

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db.models.signals import post_migrate
from django.test import Client
from pytest_django import Settings

from authors.apps import DEFAULT_AUTHOR, make_default_author
from authors.models import Author, PromptChange
from authors.tests.factories import AuthorFactory

pytestmark = pytest.mark.django_db
LIST = "/admin/authors/author/"
ADD = f"{LIST}add/"
CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def form(**changes: str) -> dict[str, str]:
    return {
        "wallet_address": CHECKSUMMED,
        "prompt_text": "A fox in the snow",
        "twitter_handle": "",
        "farcaster_handle": "",
    } | changes


def test_stores_wallet_and_handles_once(admin_client: Client) -> None:
    handles = {"twitter_handle": "@fox", "farcaster_handle": "@fox.eth"}
    answer = admin_client.post(ADD, form(wallet_address=CHECKSUMMED.lower(), **handles))
    assert answer.status_code == 302, answer.content.decode()
    author = Author.objects.get()
    assert author.wallet_address == CHECKSUMMED
    assert (author.twitter_handle, author.farcaster_handle) == ("fox", "fox.eth")
    for spelt in (CHECKSUMMED, "0x" + CHECKSUMMED[2:].upper()):
        answer = admin_client.post(ADD, form(wallet_address=spelt))
        assert "An author with this wallet exists already." in answer.content.decode()
    assert Author.objects.count() == 1


def test_edits_a_prompt(admin_client: Client) -> None:
    author = AuthorFactory.create(wallet_address=CHECKSUMMED, prompt_text="old")
    url = f"/admin/authors/author/{author.pk}/change/"
    assert admin_client.post(url, form(prompt_text="new")).status_code == 302
    author.refresh_from_db()
    assert author.prompt_text == "new"
    change = PromptChange.objects.get()
    assert (change.prompt_text, change.actor) == ("new", "operator admin")
    page = admin_client.get(url).content.decode()
    assert "by <strong>operator admin</strong></span><p>new</p>" in page
    admin_client.post(url, form(prompt_text="new", twitter_handle="fox"))
    assert PromptChange.objects.get() == change  # a handle is no prompt


def test_an_author_and_their_wallet_stay(admin_client: Client) -> None:
    author = AuthorFactory.create()
    url = f"{LIST}{author.pk}"
    assert admin_client.post(f"{url}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.post(f"{url}/change/", form(prompt_text="new")).status_code == 302
    before = author.wallet_address
    author.refresh_from_db()
    assert (author.wallet_address, author.prompt_text) == (before, "new")


@pytest.mark.pages
def test_refuses_what_onboarding_refuses(admin_client: Client) -> None:
    for given, message in (
        ({"wallet_address": "0x12"}, "not an Ethereum address"),
        ({"wallet_address": "x" * 42}, "not an Ethereum address"),
        ({"wallet_address": CHECKSUMMED.replace("aA", "Aa")}, "EIP-55 checksum"),
        ({"wallet_address": ""}, "required"),
        ({"prompt_text": ""}, "A new author needs a prompt."),
        ({"prompt_text": "a\x07b"}, "control character (U+0007)"),
        ({"prompt_text": "x" * 1001}, "1000"),
        ({"twitter_handle": "no spaces"}, "no X handle"),
        ({"farcaster_handle": "UPPER"}, "no Farcaster name"),
    ):
        assert message in admin_client.post(ADD, form(**given)).content.decode()
        assert not Author.objects.exists()


def test_characters_are_counted_as_they_are_stored(admin_client: Client) -> None:
    page = admin_client.get(ADD).content.decode()
    assert 'data-prompt-limit="1000"' in page
    assert "glisk/prompt.js" in page
    answer = admin_client.post(ADD, form(prompt_text="é\r\n" * 499 + "xx"))
    assert answer.status_code == 302
    assert Author.objects.get().prompt_text == "é\n" * 499 + "xx"


def test_the_default_author_is_shown_as_such(admin_client: Client, settings: Settings) -> None:
    AuthorFactory.create()
    assert "default author" not in admin_client.get(LIST).content.decode().lower()
    author = AuthorFactory.create(wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET)
    for url in (LIST, f"{LIST}{author.pk}/change/"):
        assert "default author" in admin_client.get(url).content.decode().lower()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", [("migrate",), ("flush", "--noinput")])
def test_a_migration_or_an_emptied_database_makes_the_default_author(
    command: tuple[str, ...], settings: Settings
) -> None:
    config = apps.get_app_config("authors")
    post_migrate.connect(make_default_author, sender=config, dispatch_uid=DEFAULT_AUTHOR)
    try:
        for _ in range(2):
            call_command(*command, verbosity=0)
    finally:
        post_migrate.disconnect(sender=config, dispatch_uid=DEFAULT_AUTHOR)
    author = Author.objects.get()
    assert author.is_default
    assert author.prompt_text == settings.DEFAULT_PROMPT
    assert [change.actor for change in author.prompt_changes.all()] == ["settings"]

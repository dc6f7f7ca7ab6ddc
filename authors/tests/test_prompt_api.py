"""Authors set their prompts, and nobody does it for them."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from authors.models import Author, PromptChange, SignInNonce
from authors.purging import purge_expired
from authors.signatures.eip4361 import read_sign_in_message
from authors.signatures.messages import hash_of
from authors.signed_requests import try_later
from authors.tests.wallets import AUTHOR, OTHER, detail, high_s_twin, offered, post, sign
from glisk.errors import AccountError, TransientError
from glisk.tests.waiting import at_once

PATH = "/api/authors/prompt"
PROMPT = "Misty mountain ridges at sunrise"
LEGACY = f"Update GLISK prompt for wallet: {AUTHOR.address}"
pytestmark = pytest.mark.django_db
REFUSED = "Signature verification failed. Please ensure you're using the correct wallet."


def body(**changes: Any) -> dict[str, Any]:
    """Return the frontend's request, signed by the author for whatever message it holds."""
    asked = {
        "wallet_address": AUTHOR.address,
        "prompt_text": PROMPT,
        "message": LEGACY,
    } | changes
    return {"signature": sign(AUTHOR, asked["message"])} | asked


class TestLegacyMessages:
    def test_an_author_registers(self, client: Client) -> None:
        answer = post(client, PATH, body())
        assert (answer.status_code, answer.json()) == (200, {"success": True, "has_prompt": True})
        assert Author.objects.get().wallet_address == AUTHOR.address
        for path in ("", "/tokens"):
            shown = client.get(f"/api/authors/{AUTHOR.address}{path}")
            assert PROMPT not in shown.content.decode()
            assert shown.json().get("has_prompt", True) is True
        assert client.get(PATH).status_code == 405

        # Its history is kept.
        post(client, PATH, body(prompt_text="Dunes"))
        post(client, PATH, body(prompt_text="Dunes"))
        assert Author.objects.get().prompt_text == "Dunes"
        history = PromptChange.objects.values_list("prompt_text", "actor")
        assert list(history) == [("Dunes", "wallet"), (PROMPT, "wallet")]

    def test_a_signature_for_anything_else_changes_nothing(self, client: Client) -> None:
        for changes in (
            {"wallet_address": OTHER.address},
            {"signature": sign(OTHER, LEGACY)},
            {"signature": high_s_twin(sign(AUTHOR, LEGACY))},
            {"signature": "nonsense"},
            {"message": LEGACY + "\n"},
            {"message": " " + LEGACY},
            {"message": LEGACY.lower()},
            {"message": f"Update GLISK prompt for wallet: {AUTHOR.address.lower()}"},
            {"message": f"Update GLISK prompt for wallet: {OTHER.address}"},
            {"message": f"Link X account for wallet: {AUTHOR.address}"},
            {"message": f"Link Farcaster account for wallet: {AUTHOR.address}"},
            {"message": "Welcome to another site! Nonce: 12345678"},
            {"message": f"evil.example wants you to sign in\nNonce: {'a' * 24}\n"},
        ):
            assert detail(post(client, PATH, body(**changes))).startswith(
                "Signature verification failed."
            )
            assert not Author.objects.exists()

    def test_they_can_be_switched_off(self, client: Client, settings: Settings) -> None:
        settings.LEGACY_SIGNATURES = False
        assert "not the one" in detail(post(client, PATH, body()))
        message = offered(client, AUTHOR.address, "update_prompt", hash_of(PROMPT))
        assert post(client, PATH, body(message=message)).status_code == 200


class TestOfferedMessages:
    @pytest.fixture
    def message(self, client: Client) -> str:
        return offered(client, AUTHOR.address.lower(), "update_prompt", hash_of(PROMPT))

    def test_it_names_everything_that_it_allows(self, message: str, settings: Settings) -> None:
        read = read_sign_in_message(message)
        assert read.domain == "localhost:3000"
        assert read.address == AUTHOR.address
        assert read.statement == "Update my GLISK prompt."
        assert read.uri == settings.FRONTEND_URL
        assert read.chain_id == settings.CHAIN_ID
        assert read.expires_at == read.issued_at + timedelta(seconds=settings.SIGN_IN_SECONDS)
        assert read.resources == (f"urn:glisk:update_prompt:sha256:{hash_of(PROMPT)}",)
        stored = SignInNonce.objects.get()
        assert (stored.nonce, stored.message) == (read.nonce, message)

    def test_it_names_the_site_that_asks_if_it_is_ours(
        self, client: Client, settings: Settings
    ) -> None:
        settings.FRONTEND_URL = "https://glisk.example"
        settings.SIGN_IN_DOMAIN = ["glisk.example", "www.glisk.example", "*.glisk.app"]
        query = {"action": "update_prompt", "value_hash": hash_of(PROMPT)}
        asking: list[tuple[dict[str, str], str]] = [
            ({}, "glisk.example"),
            ({"Origin": "https://www.glisk.example"}, "www.glisk.example"),
            ({"Referer": "https://a1.glisk.app/profile?tab=author"}, "a1.glisk.app"),
            ({"Origin": "https://evil.example"}, "glisk.example"),
            ({"Origin": "null", "Referer": "https://[bad"}, "glisk.example"),
        ]
        for headers, site in asking:
            answer = client.get(f"/api/authors/{AUTHOR.address}/nonce", query, headers=headers)
            message = answer.json()["message"]
            read = read_sign_in_message(message)
            assert (read.domain, read.uri) == (site, f"https://{site}")
            assert answer["Cache-Control"] == "no-store"
            assert post(client, PATH, body(message=message)).status_code == 200

    def test_it_works_once_for_one_value_of_one_wallet(self, client: Client, message: str) -> None:
        wrong = body(message=message, signature=sign(OTHER, message))
        assert detail(post(client, PATH, wrong)) == REFUSED
        other = body(message=message, prompt_text=PROMPT + "!")
        assert "another value" in detail(post(client, PATH, other))
        stolen = {"wallet_address": OTHER.address, "signature": sign(OTHER, message)}
        assert "not the one" in detail(post(client, PATH, body(message=message) | stolen))

        assert post(client, PATH, body(message=message)).status_code == 200  # not used up by those
        Author.objects.update(prompt_text="Changed since")
        assert "used already" in detail(post(client, PATH, body(message=message)))
        assert Author.objects.get().prompt_text == "Changed since"

    def test_it_expires_and_is_purged(self, client: Client, message: str) -> None:
        assert purge_expired() == 0
        SignInNonce.objects.update(expires_at=timezone.now())
        assert "has expired" in detail(post(client, PATH, body(message=message)))
        SignInNonce.objects.update(expires_at=timezone.now() - timedelta(hours=2))
        assert purge_expired() == 1

    def test_it_is_for_one_action(self, client: Client) -> None:
        for action, value in (("link_x", ""), ("link_farcaster", hash_of(PROMPT))):
            message = offered(client, AUTHOR.address, action, value)
            assert "not the one" in detail(post(client, PATH, body(message=message)))

    def test_a_changed_text_is_none(self, client: Client, message: str) -> None:
        for old, new in (
            ("localhost:3000 wants", "evil.example wants"),
            ("Chain ID: 31337", "Chain ID: 1"),
            ("Update my GLISK prompt.", "Log in to a game."),
            ("Expiration Time: 2", "Expiration Time: 3"),
            (":sha256:", ":sha512:"),
            ("Nonce: ", "Nonce:  "),
        ):
            assert old in message
            answer = post(client, PATH, body(message=message.replace(old, new)))
            assert "not the one" in detail(answer)

    def test_a_senseless_question_is_refused(self, client: Client) -> None:
        for wallet, query, fault in (
            ("0x12", {"action": "link_x"}, "Invalid Ethereum address: 0x12"),
            ("☂", {"action": "link_x"}, "Invalid Ethereum address"),
            (AUTHOR.address, {}, "action"),
            (AUTHOR.address, {"action": "drain"}, "action"),
            (AUTHOR.address, {"action": "update_prompt"}, "value_hash"),
            (AUTHOR.address, {"action": "update_prompt", "value_hash": "AB" * 32}, "value_hash"),
            (AUTHOR.address, {"action": "link_x", "value_hash": "ab" * 32}, "value_hash"),
        ):
            assert fault in detail(client.get(f"/api/authors/{wallet}/nonce", query))


def test_what_makes_no_sense_is_refused(client: Client) -> None:
    prompts = ["", " \n", "x" * 1001, "a\x00b", "a\x1b[31mb", "a\x7fb", "a\x85b", "a\ud800b"]
    senseless: dict[str, list[Any]] = {
        "prompt_text": [*prompts, None, ["x"], {"x": 1}],
        "wallet_address": ["0x12", "\ud800", 7, None],
        "message": ["x" * 3000],
        "signature": [7, "\ud800", "0x" + "00" * 20000],
    }
    for name, values in senseless.items():
        for value in values:
            detail(post(client, PATH, {"signature": "0x00", **body(), name: value}))
            assert not Author.objects.exists()


# By category, or by name: nothing of it can be seen.
INVISIBLE = [
    "\u200b",
    "\u3164",
    "\u200b \u2800\n\u3164\t\ufeff",
    "\u00a0\u3000\u2028",
    "\u115f\u1160\uffa0",
    "\ufe0f\U000e0100\u034f",
]
SEEN = ["x", "x" * 1000, "☂" * 1000, "two\nlines\tand a tab", "\u200dé", "\u200b.", "❤\ufe0f"]


def test_a_prompt_of_which_nothing_is_seen_is_empty(client: Client) -> None:
    for prompt in INVISIBLE:
        told = detail(post(client, PATH, body(prompt_text=prompt)))
        assert told == "The prompt is empty."
    for prompt in SEEN:
        assert post(client, PATH, body(prompt_text=prompt)).status_code == 200, prompt
        assert Author.objects.get().prompt_text == prompt


def test_authors_read_sentences_without_names_of_fields(client: Client) -> None:
    for changes, words in (
        ({"prompt_text": "x" * 1001}, "Ensure the prompt text has no more than 1000 characters."),
        ({"prompt_text": ""}, "The prompt text may not be blank."),
        ({"prompt_text": None}, "The prompt text may not be null."),
        ({"prompt_text": 7}, "The prompt text is not right: Not a valid string."),
        ({"prompt_text": "a\x07b"}, "The prompt holds a control character (U+0007)."),
        ({"signature": ""}, "The signature may not be blank."),
        ({"wallet_address": None}, "The wallet address may not be null."),
    ):
        assert detail(post(client, PATH, body() | changes)) == words
    told = detail(post(client, PATH, {}))
    assert "The wallet address is required." in told
    assert "_" not in told and ":" not in told


def test_a_failure_is_told_in_the_frontends_words(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a secret of the machine")

    monkeypatch.setattr("authors.signed_requests.prove", fail)
    client.raise_request_exception = False
    settings.X_CLIENT_ID = settings.OPTIMISM_RPC_URL = "set up"
    message = {"wallet_message": "a", "farcaster_message": "a", "fid": 7, "username": ""}
    signed = message | {"wallet_signature": "0x", "farcaster_signature": "0x"}
    for path, failure in (
        ("prompt", "Failed to update author prompt. Please try again later."),
        ("x/auth/start", "Failed to initiate X OAuth. Please try again later."),
        ("farcaster/link", "Failed to link Farcaster account. Please try again later."),
    ):
        answer = post(client, f"/api/authors/{path}", body() | signed)
        assert detail(answer, 500) == failure


def test_who_is_told_to_come_again_hears_when_if_anybody_knows() -> None:
    busy = TransientError("busy", vendor="base", retry_after_seconds=7)
    assert try_later("Later.", busy).wait == 7
    refused = AccountError("no", vendor="base", retry_after_seconds=7)  # of no use to the author
    assert try_later("Later.", refused).wait is None


class TestThrottles:
    def test_one_address_is_bounded_over_all_endpoints(
        self, client: Client, settings: Settings
    ) -> None:
        settings.SIGNED_REQUESTS_PER_MINUTE = 2
        assert post(client, PATH, {}).status_code == 400
        assert client.get(f"/api/authors/{AUTHOR.address}/nonce").status_code == 400
        answer = post(client, PATH, body())
        assert "throttled" in detail(answer, 429)
        assert 0 < int(answer["Retry-After"]) <= 61
        other = client.post(PATH, body(), content_type="application/json", REMOTE_ADDR="10.0.0.9")
        assert other.status_code == 200

    def test_behind_a_proxy_visitors_are_counted_apart_whatever_they_make_up(
        self, client: Client, settings: Settings
    ) -> None:
        settings.SIGNED_REQUESTS_PER_MINUTE = 1
        settings.TRUSTED_PROXIES = [ip_network("127.0.0.1"), ip_network("10.0.0.0/8")]
        statuses = [
            post(client, PATH, {}, **{"X-Forwarded-For": header}).status_code
            for header in ("1.1.1.1, 8.8.8.8, 10.0.0.2", "2.2.2.2, 8.8.8.8", "1.1.1.1, 8.8.4.4")
        ]
        assert statuses == [400, 429, 400]

    def test_only_proven_changes_count_for_a_wallet(
        self, client: Client, settings: Settings
    ) -> None:
        """Else anybody could lock somebody out."""
        settings.CHANGES_PER_HOUR = 1
        for _ in range(3):
            assert detail(post(client, PATH, body(signature=sign(OTHER, LEGACY)))) == REFUSED
        assert post(client, PATH, body()).status_code == 200
        assert "throttled" in detail(post(client, PATH, body(prompt_text="More")), 429)
        assert Author.objects.get().prompt_text == PROMPT


@pytest.mark.django_db(transaction=True)
def test_of_many_uses_at_once_one_succeeds(client: Client) -> None:
    asked = body(message=offered(client, AUTHOR.address, "update_prompt", hash_of(PROMPT)))
    statuses = at_once(4, lambda _: post(Client(), PATH, asked).status_code)
    assert sorted(statuses) == [200, 400, 400, 400]
    assert PromptChange.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_requests_at_once_are_all_counted(settings: Settings) -> None:
    settings.SIGNED_REQUESTS_PER_MINUTE = 5
    statuses = at_once(8, lambda _: post(Client(), PATH, {}).status_code)
    assert sorted(statuses) == [400] * 5 + [429] * 3

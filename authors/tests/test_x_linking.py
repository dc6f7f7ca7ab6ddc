"""Linking X accounts against an emulated X: proof on both ends, and nobody else's account."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from authors.models import Author, PromptChange, XLinkRequest
from authors.tests.factories import AuthorFactory
from authors.tests.wallets import AUTHOR, OTHER, detail, offered, post, sign
from authors.tests.x_emulator import CLIENT_ID, CLIENT_SECRET, XEmulator
from authors.x import take_request
from glisk.tests.waiting import at_once

START = "/api/authors/x/auth/start"
CALLBACK = "/api/authors/x/callback"
REDIRECT_URI = f"http://localhost:3000{CALLBACK}"
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("x")]
LEGACY = f"Link X account for wallet: {AUTHOR.address}"


@pytest.fixture(scope="module")
def running_x() -> Iterator[XEmulator]:
    with XEmulator(redirect_uri=REDIRECT_URI) as emulator:
        yield emulator


@pytest.fixture
def x(running_x: XEmulator, settings: Settings) -> XEmulator:
    running_x.reset(state=True)
    running_x.username = "glisk_author"
    settings.X_CLIENT_ID, settings.X_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
    settings.X_REDIRECT_URI = REDIRECT_URI
    settings.X_AUTHORIZE_URL = f"{running_x.url}/i/oauth2/authorize"
    settings.X_API_URL = running_x.url
    settings.LINK_TIMEOUT_SECONDS = 5.0
    return running_x


def start(client: Client, **changes: Any) -> Any:
    asked = {"wallet_address": AUTHOR.address, "message": LEGACY} | changes
    return post(client, START, {"signature": sign(AUTHOR, asked["message"])} | asked)


def consent(client: Client) -> dict[str, str]:
    """Begin, sign in at X, and return the parameters that X sends the browser back with."""
    answer = start(client)
    assert answer.status_code == 200, answer.content
    reply = requests.get(answer.json()["authorization_url"], allow_redirects=False, timeout=5)
    assert reply.status_code == 302, reply.text
    back = urlsplit(reply.headers["Location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == REDIRECT_URI
    return dict(parse_qsl(back.query))


def outcome(client: Client, params: dict[str, str]) -> dict[str, str]:
    """Let the browser come back and return what it tells the frontend."""
    answer = client.get(CALLBACK, params)
    assert answer.status_code == 302
    target = answer["Location"]
    assert target.startswith("http://localhost:3000/profile?tab=author&x_linked=")
    told = dict(parse_qsl(urlsplit(target).query))
    assert told.pop("tab") == "author"
    return told


def failed(error: str) -> dict[str, str]:
    return {"x_linked": "false", "error": error}


class TestLinking:
    def test_an_account_is_linked_with_a_name_as_long_as_x_says(
        self, client: Client, x: XEmulator
    ) -> None:
        AuthorFactory.create(wallet_address=AUTHOR.address, prompt_text="A fox")
        for length in (1, 16, 18, 50):
            x.username = "An_early_adopter_of_it".ljust(50, "0")[:length]
            told = outcome(client, consent(client))
            assert told == {"x_linked": "true", "username": x.username}
            author = Author.objects.get()
            assert (author.twitter_handle, author.prompt_text) == (x.username, "A fox")
        assert not XLinkRequest.objects.exists()
        assert not PromptChange.objects.exists()

    def test_an_application_without_a_secret(self, client: Client, settings: Settings) -> None:
        with XEmulator(redirect_uri=REDIRECT_URI, client_secret="") as public:
            settings.X_CLIENT_ID, settings.X_CLIENT_SECRET = CLIENT_ID, ""
            settings.X_AUTHORIZE_URL = f"{public.url}/i/oauth2/authorize"
            settings.X_API_URL, settings.X_REDIRECT_URI = public.url, REDIRECT_URI
            assert outcome(client, consent(client))["x_linked"] == "true"

    def test_an_offered_message_begins_one_link(self, client: Client) -> None:
        message = offered(client, AUTHOR.address, "link_x")
        assert start(client, message=message).status_code == 200
        assert "used already" in detail(start(client, message=message))

    def test_what_is_asked_of_x(self, client: Client) -> None:
        answer = start(client)
        cookie = answer.cookies["glisk_x_link"]
        assert cookie["httponly"]
        assert (cookie["path"], cookie["samesite"], cookie["max-age"]) == (CALLBACK, "Lax", 300)
        url = urlsplit(answer.json()["authorization_url"])
        query = dict(parse_qsl(url.query))
        assert url.path == "/i/oauth2/authorize"
        assert "scope=tweet.read%20users.read&" in url.query
        assert query.pop("scope") == "tweet.read users.read"
        assert re.fullmatch(r"[\w-]{43}", query.pop("state"))
        assert re.fullmatch(r"[\w-]{43}", query.pop("code_challenge"))
        assert query == {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "code_challenge_method": "S256",
        }
        # Nothing that could finish the link is stored or shown.
        stored = XLinkRequest.objects.get()
        assert stored.code_verifier not in url.query
        assert len(stored.code_verifier) >= 43


class TestAttacks:
    def test_only_the_wallet_begins(self, client: Client) -> None:
        for changes in (
            {"signature": sign(OTHER, LEGACY)},
            {"signature": "0x00"},
            {"message": f"Update GLISK prompt for wallet: {AUTHOR.address}"},
            {"message": LEGACY + " "},
            {"wallet_address": OTHER.address},
        ):
            told = detail(start(client, **changes))
            assert told.startswith("Signature verification failed.")
        assert detail(start(client, wallet_address="0x12")) == "Invalid Ethereum address: 0x12"
        assert start(client, message="x" * 501).status_code == 400
        assert not XLinkRequest.objects.exists()

    def test_a_state_works_once_and_in_the_browser_that_began(
        self, client: Client, settings: Settings
    ) -> None:
        """The attacker begins with the own wallet and has a victim follow the link."""
        params = consent(client)
        key = client.cookies["glisk_x_link"].value
        victim = Client()
        assert outcome(victim, params) == failed("state_mismatch")
        start(victim)
        assert outcome(victim, params) == failed("state_mismatch")
        assert not Author.objects.exists()
        assert outcome(client, params)["x_linked"] == "true"  # and it cost the owner nothing
        client.cookies["glisk_x_link"] = key
        assert outcome(client, params) == failed("state_mismatch")
        settings.X_SAME_BROWSER = False
        assert outcome(Client(), consent(client))["x_linked"] == "true"

    def test_a_state_lives_five_minutes(self, client: Client) -> None:
        params = consent(client)
        left = XLinkRequest.objects.get().expires_at - timezone.now()
        assert timedelta(minutes=4) < left <= timedelta(minutes=5)
        XLinkRequest.objects.update(expires_at=timezone.now())
        assert outcome(client, params) == failed("state_mismatch")
        expired = XLinkRequest.objects.get()
        start(client)  # the next request lets its verifier go
        assert XLinkRequest.objects.get() != expired

    def test_a_forged_state_finishes_nothing(self, client: Client) -> None:
        for state in ("", "forged", "x" * 5000, "\x00", "☂"):
            code = consent(client)["code"]
            told = outcome(client, {"code": code, "state": state})
            assert told == failed("state_mismatch" if state else "missing_params")

    def test_a_foreign_code_is_refused_by_its_challenge(self, client: Client) -> None:
        foreign = consent(Client())["code"]
        params = consent(client) | {"code": foreign}
        assert outcome(client, params) == failed("token_exchange_failed")

    def test_nothing_of_the_request_decides_where_it_leads(self, client: Client) -> None:
        evil = "https://evil.example"
        extra = {"next": evil, "redirect_uri": evil, "error_description": evil}
        for error in ("//evil.example/\r\nSet-Cookie: a=b", "<script>alert(1)</script>", ""):
            answer = client.get(CALLBACK, {"state": "a", "code": "b", "error": error, **extra})
            assert answer["Location"].startswith("http://localhost:3000/profile?")
            assert "evil" not in answer["Location"]
            assert "script" not in answer["Location"]


class TestFailures:
    def test_the_user_says_no(self, client: Client, x: XEmulator) -> None:
        x.set_faults(denied=True)
        params = consent(client)
        assert outcome(client, params) == failed("access_denied")
        assert not XLinkRequest.objects.exists()  # the state is used up

    def test_parameters_are_missing(self, client: Client) -> None:
        for params in ({}, {"state": "a"}, {"code": "b"}):
            assert outcome(client, params) == failed("missing_params")

    def test_x_fails(self, client: Client, x: XEmulator) -> None:
        for kind in ("throttle", "server_error", "drop_before", "drop_after"):
            for scope, error in (
                ("oauth2/token", "token_exchange_failed"),
                ("users/me", "validation_failed"),
            ):
                params = consent(client)
                x.plan_fault(kind, scope=scope)
                assert outcome(client, params) == failed(error)
                assert not Author.objects.exists()

    def test_the_code_is_not_exchanged(
        self, client: Client, x: XEmulator, settings: Settings
    ) -> None:
        x.set_faults(code_seconds=0.0)  # it has expired
        assert outcome(client, consent(client)) == failed("token_exchange_failed")
        x.set_faults(code_seconds=None)
        params = consent(client)
        settings.X_CLIENT_SECRET = "another secret"
        assert outcome(client, params) == failed("token_exchange_failed")
        params = consent(client)
        settings.LINK_TIMEOUT_SECONDS = 0.3
        x.set_faults(latency_seconds=(1, 1))
        assert outcome(client, params) == failed("token_exchange_failed")

    def test_what_x_answers_is_none(self, client: Client, x: XEmulator) -> None:
        x.username = "not a handle <b>"
        assert outcome(client, consent(client)) == failed("validation_failed")
        users: list[Any] = [{}, {"data": []}, {"data": {}}]
        tokens: list[Any] = [
            b"no json",
            [],
            {"token_type": "bearer"},
            {"access_token": 7, "token_type": "bearer"},
            {"access_token": "a", "scope": 5},
            {"access_token": "a", "expires_in": "soon"},
            {"error": "invalid_grant"},
        ]
        for path, answers, error in (
            ("/2/users/me", users, "validation_failed"),
            ("/2/oauth2/token", tokens, "token_exchange_failed"),
        ):
            for answer in answers:
                params = consent(client)
                x.script(path, answer)
                assert outcome(client, params) == failed(error), answer
        assert not Author.objects.exists()

    def test_a_fault_of_ours_leads_back_too(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(**kwargs: Any) -> None:
            raise RuntimeError("a fault")

        monkeypatch.setattr("authors.x.finish_link", fail)
        assert outcome(client, {"state": "a", "code": "b"}) == failed("unexpected_error")

    def test_it_is_not_set_up(self, client: Client, settings: Settings) -> None:
        settings.X_CLIENT_ID = ""
        assert "not set up" in detail(start(client), 503)


@pytest.mark.django_db(transaction=True)
def test_of_many_callbacks_at_once_one_gets_the_request(x: XEmulator) -> None:
    def take(client: Client, state: str) -> list[XLinkRequest | None]:
        key = client.cookies["glisk_x_link"].value
        return at_once(6, lambda _: take_request(state=state, browser_key=key))

    for _ in range(5):  # the moment between reading and deleting is short
        client = Client()
        state = consent(client)["state"]
        assert sum(request is not None for request in take(client, state)) == 1


def test_nothing_secret_is_logged(
    client: Client, x: XEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    params = consent(client)
    verifier = XLinkRequest.objects.get().code_verifier
    x.plan_fault("server_error", scope="users/me")
    outcome(client, params)
    logged = "".join(capsys.readouterr())
    for secret in (params["code"], params["state"], verifier, CLIENT_SECRET, *x._tokens):
        assert secret not in logged

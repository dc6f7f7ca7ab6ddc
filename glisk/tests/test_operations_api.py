"""The operations API: staff only, by session or token, each call with its permission."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from knox.models import AuthToken
from pytest_django import Settings

from authors.tests.factories import wallet
from glisk.console.roles import OPERATOR, VIEWER, give_role, make_roles
from glisk.tests.pipeline_world import add_ready_token
from reveals.models import RevealRequest
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db

TOKENS = "/api/admin/tokens"
STATE = "/api/admin/system/state"
REVEAL = "/api/admin/reveal"
OTHER_READS = ["/admin/tokens", "/admin/token/1", "/admin/system/state"]
OTHER_WRITES = ["/admin/reveal"]
READS = [TOKENS, f"{TOKENS}/1", STATE, *OTHER_READS]
WRITES = [f"{TOKENS}/1/retry", REVEAL, *OTHER_WRITES]


def script(role: str = OPERATOR) -> Client:
    """Return a client that sends a token of its own."""
    make_roles()
    User.objects.create_user(role)
    give_role(role, role)
    out = StringIO()
    call_command("create_api_token", role, stdout=out, stderr=StringIO())
    return Client(headers={"Authorization": f"Token {out.getvalue().strip()}"})


def post(client: Client, address: str, body: Any = None) -> Any:
    return client.post(address, json.dumps(body or {}), content_type="application/json")


def ids(client: Client, **query: Any) -> list[int]:
    answer = client.get(TOKENS, query)
    assert answer.status_code == 200, answer.content
    return [token["token_id"] for token in answer.json()["tokens"]]


# -- the door -----------------------------------------------------------------------------


def test_strangers_are_asked_who_they_are(client: Client) -> None:
    for address in (*READS, *WRITES):
        answer = client.get(address) if address in READS else post(client, address)
        assert answer.status_code == 401, address
        assert answer["WWW-Authenticate"] == "Token"
        assert set(answer.json()) == {"detail"}
    for given in ("nonsense", "glisk_" + "0" * 58, "a b", "\xff", "", "%00"):
        stranger = Client(headers={"Authorization": f"Token {given}"})
        assert stranger.get(TOKENS).status_code == 401, given


def test_a_token_ends_with_its_time_and_its_owners_rights_and_is_stored_as_a_digest() -> None:
    client = script()
    assert client.get(TOKENS).status_code == 200
    sent, row = client.defaults["HTTP_AUTHORIZATION"].split()[1], AuthToken.objects.get()
    assert sent.startswith("glisk_")
    assert sent not in (row.digest, row.token_key)
    for changes in ({"is_active": False}, {"is_active": True, "is_staff": False}):
        User.objects.update(**changes)
        assert client.get(TOKENS).status_code in (401, 403)
    User.objects.update(is_staff=True)
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert client.get(TOKENS).status_code == 401


def test_the_viewer_reads_and_writes_nothing() -> None:
    TokenFactory.create(token_id=1, status=TokenStatus.FAILED)
    client = script(VIEWER)
    for address in READS:
        assert client.get(address).status_code == 200, address
    for address in WRITES:
        assert post(client, address).status_code == 403, address
    assert Token.objects.get().status == TokenStatus.FAILED


def test_a_session_needs_the_csrf_token(admin_user: User) -> None:
    TokenFactory.create(token_id=1, status=TokenStatus.FAILED)
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.get(TOKENS).status_code == 200
    assert post(client, f"{TOKENS}/1/retry").status_code == 403
    client.get("/admin/")
    client.cookies["csrftoken"] = "a" * 32
    answer = client.post(
        f"{TOKENS}/1/retry",
        "{}",
        content_type="application/json",
        headers={"X-CSRFToken": "a" * 32},
    )
    assert answer.status_code == 200


def test_requests_are_bounded(settings: Settings) -> None:
    settings.OPERATIONS_REQUESTS_PER_MINUTE = 2
    client = script()
    assert [client.get(TOKENS).status_code for _ in range(3)] == [200, 200, 429]
    assert int(client.get(STATE)["Retry-After"]) <= 60


def test_tokens_are_for_staff() -> None:
    User.objects.create_user("clerk")
    User.objects.create_superuser("root")
    for arguments, fault in (
        (("nobody",), "no active user"),
        (("clerk",), "no member of the staff"),
        (("root", "--days", "0"), "--days"),
    ):
        with pytest.raises(CommandError, match=fault):
            call_command("create_api_token", *arguments)


# -- reading ------------------------------------------------------------------------------


def test_lists_page_by_page_what_an_operator_asks_for() -> None:
    now = timezone.now()
    TokenFactory.create(token_id=1, status=TokenStatus.FAILED, error_class="transient")
    TokenFactory.create(token_id=2, status=TokenStatus.UPLOADING, error_class="transient")
    TokenFactory.create(token_id=3, held_at=now, hold_reason="why not")
    TokenFactory.create(token_id=4, lease_owner="gone", lease_expires_at=now - timedelta(1))
    TokenFactory.create(token_id=5, minter_address=wallet(5), prompt_author_wallet=wallet(6))
    TokenFactory.create(token_id=6, status=TokenStatus.FAILED)
    client = script()
    questions: list[tuple[list[int], dict[str, Any]]] = [
        ([6, 5, 4, 3, 2, 1], {}),
        ([6, 1], {"status": "failed", "limit": 2}),
        ([1], {"status": "failed", "before": 6}),
        ([2, 1], {"error_class": "transient"}),
        ([1], {"error_class": "transient", "status": "failed"}),
        ([3], {"held": "true"}),
        ([4], {"stalled": "true"}),
        ([5], {"minter": wallet(5).lower()}),
        ([5], {"author": wallet(6)}),
    ]
    for wanted, query in questions:
        assert ids(client, **query) == wanted, query
    for limit, following in ((1, 6), (2, None)):
        page = client.get(TOKENS, {"status": "failed", "limit": str(limit)}).json()
        assert page["next_before"] == following
    for name, value in {"status": "lost", "limit": "201", "before": "0", "author": "0x1"}.items():
        answer = client.get(TOKENS, {name: value})
        assert answer.status_code == 422
        assert name in answer.json()["detail"]


def test_a_token_comes_with_its_history() -> None:
    token, client = add_ready_token(1), script()
    found = client.get(f"{TOKENS}/{token.pk}").json()
    assert [move["to_status"] for move in found["timeline"]] == ["detected", "generating", "ready"]
    assert found["jobs"][0]["external_id"] == "prediction1"
    assert found["uploads"][0]["returned_cid"] == token.image_cid
    assert token.mint_event is not None
    assert found["mint_tx_hash"] == token.mint_event.tx_hash
    assert found["prompt"] == token.prompt
    assert client.get(f"{TOKENS}/77").status_code == 404
    assert post(client, f"{TOKENS}/77/retry").status_code == 404


def test_the_state_of_the_system() -> None:
    add_ready_token(1)
    found = script().get(STATE).json()
    assert {count["status"]: count["number"] for count in found["tokens"]}["ready"] == 1
    assert set(found) >= {"stages", "batches", "workers", "troubles", "chain", "spend"}


@pytest.mark.plans
def test_reading_costs_the_same_at_any_size() -> None:
    client = script()
    for address in (TOKENS, STATE):
        counts = []
        for _ in range(2):
            for number in range(3):
                TokenFactory.create(status=[*TokenStatus][number])
            client.get(address)
            with CaptureQueriesContext(connection) as captured:
                assert client.get(address).status_code == 200
            counts.append(len(captured))
        assert counts[0] == counts[1] <= 20


# -- writing ------------------------------------------------------------------------------


def test_a_failed_token_is_retried_once() -> None:
    TokenFactory.create(token_id=1, status=TokenStatus.FAILED)
    client = script()
    address = f"{TOKENS}/1/retry"
    answer = post(client, address, {"reason": "key replaced"})
    assert answer.status_code == 200, answer.content
    assert answer.json()["done"] is True
    token = Token.objects.get()
    assert token.status != TokenStatus.FAILED
    (entry,) = token.transitions.all()
    assert entry.actor == "operator operator"
    assert "key replaced" in entry.reason
    again = post(client, address)
    assert again.status_code == 409
    assert again.json()["detail"]
    assert token.transitions.count() == 1


def test_ready_tokens_are_revealed_by_request() -> None:
    first, second = (TokenFactory.create(status=TokenStatus.READY) for _ in range(2))
    failed = TokenFactory.create(status=TokenStatus.FAILED)
    client = script()
    body = {"token_ids": [first.pk, failed.pk, 999]}
    looked = post(client, REVEAL, body | {"dry_run": True}).json()
    assert (looked["requested"], looked["skipped"]) == (1, 2)
    assert not RevealRequest.objects.exists()
    for _ in range(2):
        answer = post(client, REVEAL, body)
        assert answer.status_code == 200
        messages = {row["token_id"]: row["message"] for row in answer.json()["results"]}
        assert "Retry it first" in messages[failed.pk]
        assert "no token 999" in messages[999]
    assert list(RevealRequest.objects.values_list("token", "actor")) == [
        (first.pk, "operator operator")
    ]
    assert first.transitions.count() == 1
    post(client, REVEAL, {"all_ready": True})
    assert set(RevealRequest.objects.values_list("token", flat=True)) == {first.pk, second.pk}


def test_a_senseless_order_is_refused() -> None:
    client = script()
    orders: list[dict[str, Any]] = [
        {},
        {"token_ids": []},
        {"token_ids": [1], "all_ready": True},
        {"token_ids": ["x"]},
        {"token_ids": [2**63]},
        {"token_ids": list(range(1, 502))},
    ]
    for order in orders:
        assert post(client, REVEAL, order).status_code == 400, order

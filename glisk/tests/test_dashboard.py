"""The dashboard says how the pipeline stands, and costs the same at any size."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from glisk.api.short_memory import forget_all
from glisk.models import WorkerHeartbeat
from glisk.tests.pipeline_world import build_world
from reveals.models import RevealTransaction
from tokens.models import ImageGenerationJob, Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db
FRAGMENT = "/admin/dashboard/"


def board(client: Client) -> dict[str, Any]:
    answer = client.get(FRAGMENT)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.context["dashboard"]
    return found


def test_counts_tokens_by_state_with_the_oldest_age(admin_client: Client) -> None:
    TokenFactory.create_batch(2, status=TokenStatus.GENERATING)
    TokenFactory.create(status=TokenStatus.REVEALED)
    Token.objects.filter(status=TokenStatus.GENERATING).update(
        status_changed_at=timezone.now() - timedelta(minutes=5)
    )
    answer = admin_client.get(FRAGMENT)
    numbers = {count.status: count.number for count, _ in answer.context["dashboard"]["funnel"]}
    assert numbers == dict.fromkeys(TokenStatus, 0) | {"generating": 2, "revealed": 1}
    assert answer.content.decode().count("oldest 5 min") == 1


def test_shows_what_is_in_flight_who_is_alive_and_what_arrived(admin_client: Client) -> None:
    build_world(10)
    silent = WorkerHeartbeat.objects.order_by("owner").last()
    assert silent is not None
    WorkerHeartbeat.objects.filter(pk=silent.pk).update(
        beat_at=timezone.now() - timedelta(seconds=16)
    )
    shown = board(admin_client)
    found = [(b["nonce"], b["tokens"], b["transactions"]) for b in shown["batches"][:2]]
    assert found == [(1, 1, 2), (2, 1, 2)]
    newest = RevealTransaction.objects.order_by("-id").filter(nonce=1)[0]
    assert shown["batches"][0]["tx_hash"] == newest.tx_hash
    alive = {worker.owner: worker.alive for worker in shown["workers"]}
    assert alive.pop(silent.pk) is False
    assert set(alive.values()) == {True}
    assert len(shown["events"]) == 8
    assert shown["events"][0][0].event_id == "whevt_10"


@pytest.mark.plans
def test_costs_the_same_at_any_size(
    admin_client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    board(admin_client)
    counts = []
    for _ in range(2):
        build_world(6)
        forget_all()
        with CaptureQueriesContext(connection) as captured:
            board(admin_client)
        counts.append(len(captured))
    assert counts[0] == counts[1] == 19  # session and user are two of them


def test_the_first_page_shows_it_and_refreshes_it(admin_client: Client, client: Client) -> None:
    client.logout()
    assert client.get(FRAGMENT).status_code == 302  # strangers see nothing
    text = admin_client.get(reverse("admin:index")).content.decode()
    assert f'data-url="{FRAGMENT}"' in text
    assert "glisk/dashboard.js" in text
    assert "No worker has reported." in text


def test_each_part_needs_its_permission(client: Client) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_token"))
    client.force_login(user)
    build_world(1)
    shown = board(client)
    assert shown["funnel"]
    assert not (shown["batches"] or shown["workers"] or shown["events"] or shown["troubles"])
    navigation = client.get(reverse("admin:index")).content.decode()
    assert reverse("admin:tokens_token_changelist") in navigation
    assert reverse("admin:webhooks_webhookevent_changelist") not in navigation


def test_shows_what_was_spent_and_that_the_cap_is_reached(
    admin_client: Client, settings: Settings
) -> None:
    ImageGenerationJob.objects.create(
        token_id=1,
        prompt="p",
        input={},
        service="replicate",
        model="black-forest-labs/flux-schnell",
        attempt_number=1,
        status="failed",
        cost_usd="0.003",
    )
    build_world(1)  # with a living worker
    assert not board(admin_client)["troubles"]
    settings.DAILY_SPEND_CAP_USD = 0.004
    answer = admin_client.get(FRAGMENT)
    (trouble,) = answer.context["dashboard"]["troubles"]
    assert (trouble.headline, trouble.kind) == ("Generation is paused", "pause")
    assert "0.003 USD are spent today" in trouble.reason
    assert "next try in" in answer.content.decode()
    assert "0.003 USD of 0.004" in answer.content.decode()

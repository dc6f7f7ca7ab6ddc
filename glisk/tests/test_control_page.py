"""The controls in the admin: each needs its permission, says what it did, and leaves a trace."""

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from glisk.admin.audit import record_action
from glisk.breaker import Breaker
from glisk.console.controls import list_breakers
from glisk.errors import AccountError
from glisk.models import OperatorAction
from glisk.pauses import list_pauses
from glisk.rate_limit import RateLimit
from glisk.tests.pipeline_world import build_world

pytestmark = pytest.mark.django_db


def page() -> str:
    return reverse("admin:glisk_systemstate_controls")


def send(client: Client, action: str, subject: str, reason: str = "because") -> str:
    form = {"action": action, "subject": subject, "reason": reason}
    answer = client.post(page(), form, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_stage_is_paused_and_resumed(admin_client: Client) -> None:
    assert "Generation is paused now." in send(admin_client, "pause", "generation", "<b>why</b>")
    (pause,) = list_pauses()
    assert (pause.actor, pause.reason) == ("operator admin", "<b>why</b>")
    shown = send(admin_client, "pause", "generation")
    assert "was paused already" in shown
    assert "<b>why</b>" not in shown
    assert "Generation goes on." in send(admin_client, "resume", "generation")
    assert OperatorAction.objects.count() == 2


def test_a_breaker_and_a_rate_are_reset(admin_client: Client) -> None:
    Breaker("replicate").failed(AccountError("No credit.", vendor="replicate"))
    RateLimit("pinata", per_minute=60).take(3)
    shown = admin_client.get(page()).content.decode()
    assert "No credit." in shown
    assert "3 calls in the last minute" in shown
    assert "Replicate is called again." in send(admin_client, "reset_breaker", "replicate")
    assert not list_breakers()[0].is_open
    assert "Pinata counts from zero." in send(admin_client, "reset_rate", "pinata")


def test_what_makes_no_sense_is_explained(admin_client: Client) -> None:
    assert "There is no stage" in send(admin_client, "pause", "everything")
    assert "Say why" in send(admin_client, "pause", "upload", " ")
    assert admin_client.post(page(), {"action": "destroy"}).status_code == 403
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize(
    ("permission", "may", "may_not"),
    [
        ("pause_stage", "pause", "reset_breaker"),
        ("reset_breaker", "reset_rate", "pause"),
        ("view_systemstate", "", "pause"),
    ],
)
def test_each_action_needs_its_permission(
    client: Client, permission: str, may: str, may_not: str
) -> None:
    RateLimit("upload", per_minute=60).take(1)
    user = User.objects.create_user("maria", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename=permission))
    client.force_login(user)
    form = {"subject": "upload", "reason": "because"}
    assert client.post(page(), form | {"action": may_not}).status_code == 403
    assert not OperatorAction.objects.exists()
    assert client.get(page()).status_code == (200 if may else 403)
    if may:
        assert client.post(page(), form | {"action": may}).status_code == 302
        assert OperatorAction.objects.count() == 1


def test_the_sidebar_leads_there(admin_client: Client) -> None:
    assert page() in admin_client.get(reverse("admin:index")).content.decode()


def test_strangers_are_sent_to_the_login(client: Client) -> None:
    assert client.get(page()).status_code == 302


@pytest.mark.plans
def test_the_page_takes_the_same_queries_at_any_size(admin_client: Client) -> None:
    counts = []
    for _ in range(2):
        build_world(5)
        with CaptureQueriesContext(connection) as captured:
            assert admin_client.get(page()).status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 12


def test_the_list_of_batches_leads_here(admin_client: Client, client: Client) -> None:
    batches = reverse("admin:reveals_revealbatch_changelist")
    assert f"{page()}#reveals" in admin_client.get(batches).content.decode()
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_revealbatch"))
    client.force_login(user)
    assert f"{page()}#reveals" not in client.get(batches).content.decode()


def test_the_trail_is_in_words(admin_client: Client) -> None:
    send(admin_client, "pause", "upload", "moving")
    record_action(actor="admin:maria", action="check_drift", subject="system", reason="")
    text = admin_client.get(page()).content.decode()
    assert "<td>Check drift</td>" in text
    assert "<td>Pause stage: upload</td>" in text
    assert "<td>maria</td>" in text

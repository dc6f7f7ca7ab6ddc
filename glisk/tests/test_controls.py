"""Operators pause stages and close breakers: by permission, once, and with a trace."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from glisk import pauses
from glisk.admin.audit import record_action
from glisk.breaker import Breaker
from glisk.console.controls import list_breakers, list_rate_use, reset_breaker, reset_rate_limit
from glisk.errors import AccountError
from glisk.models import OperatorAction, SystemState
from glisk.pauses import list_pauses, pause_stage, resume_stage
from glisk.rate_limit import RateLimit
from glisk.tests.pipeline_world import build_world
from glisk.timing import timing

pytestmark = pytest.mark.django_db
BY: dict[str, Any] = {"actor": "ada", "reason": " because\n so "}


def audit() -> list[tuple[str, str, str, str]]:
    rows = OperatorAction.objects.order_by("pk")
    return list(rows.values_list("actor", "action", "subject", "reason"))


def test_a_stage_is_paused_and_resumed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "pause_refresh", 0.0)
    view = pauses.Pauses()
    assert not view.is_paused("upload")
    assert pause_stage("upload", **BY)
    assert not pause_stage("upload", actor="eve", reason="me too")
    assert view.is_paused("upload")
    assert not view.is_paused("reveal")
    (pause,) = list_pauses()
    assert (pause.stage, pause.actor, pause.reason) == ("upload", "ada", "because so")
    assert pause.since is not None
    assert abs(pause.since.timestamp() - time.time()) < 5
    assert resume_stage("upload", **BY)
    assert not resume_stage("upload", **BY)
    assert not view.is_paused("upload")
    assert list_pauses() == []
    assert audit() == [
        ("ada", "pause_stage", "upload", "because so"),
        ("ada", "resume_stage", "upload", "because so"),
    ]


def test_the_view_of_the_pauses_costs_a_query_a_second(django_assert_num_queries: Any) -> None:
    view = pauses.Pauses()
    with django_assert_num_queries(1):
        for stage in pauses.STAGES:
            view.is_paused(stage)


def test_a_breaker_is_closed_by_hand() -> None:
    breaker = Breaker("v")
    breaker.failed(AccountError("No credit.", vendor="v"))
    (info,) = list_breakers()
    assert (info.name, info.is_open, info.reason) == ("v", True, "No credit.")
    assert info.since is not None
    assert info.probe_at is not None
    assert Breaker("v").places(3) == 0
    assert reset_breaker("v", **BY)
    assert Breaker("v").places(3) == 3
    assert not reset_breaker("v", **BY)
    (info,) = list_breakers()
    assert (info.is_open, info.probe_at) == (False, None)
    (row,) = OperatorAction.objects.all()
    assert row.detail["was"]["reason"] == "No credit."


def test_a_rate_limit_is_seen_and_forgotten() -> None:
    assert RateLimit("v", per_minute=2).take(3) == 2
    assert [(use.name, use.used) for use in list_rate_use()] == [("v", 2)]
    assert reset_rate_limit("v", **BY)
    assert not reset_rate_limit("v", **BY)
    assert RateLimit("v", per_minute=2).take(3) == 2
    assert [row[1] for row in audit()] == ["reset_rate_limit"]


@pytest.mark.parametrize("action", [pause_stage, resume_stage, reset_breaker, reset_rate_limit])
def test_what_is_unknown_or_without_a_reason_is_refused(action: Any) -> None:
    with pytest.raises(ValueError, match="There is no"):
        action("nothing", **BY)
    with pytest.raises(ValueError, match="Say why"):
        action("upload", actor="ada", reason=" ")
    assert not OperatorAction.objects.exists()
    assert not SystemState.objects.exists()


def test_states_that_nobody_understands_are_listed_all_the_same() -> None:
    for key, value in {
        "pause:upload": [1],
        "pause:reveal": {"since": 5},
        "breaker:odd": {"state": "open", "retry_at": "never"},
    }.items():
        SystemState.objects.create(state_key=key, state_value=value)
    assert [pause.stage for pause in list_pauses()] == ["reveal", "upload"]
    assert [info.probe_at for info in list_breakers()] == [None]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", [pause_stage, resume_stage, reset_breaker])
def test_a_double_click_acts_once(action: Any) -> None:
    if action is resume_stage:
        pause_stage("upload", **BY)
    Breaker("upload").failed(AccountError("No credit.", vendor="v"))
    OperatorAction.objects.all().delete()
    barrier = threading.Barrier(2)

    def click(_: int) -> bool:
        try:
            barrier.wait(timeout=60)
            return bool(action("upload", **BY))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(click, range(2))) == [False, True]
    assert OperatorAction.objects.count() == 1


class TestPage:
    @property
    def page(self) -> str:
        return reverse("admin:glisk_systemstate_controls")

    def send(self, client: Client, action: str, subject: str, reason: str = "because") -> str:
        form = {"action": action, "subject": subject, "reason": reason}
        answer = client.post(self.page, form, follow=True)
        assert answer.status_code == 200
        return answer.content.decode()

    def test_it_says_what_it_did_and_keeps_the_trail(self, admin_client: Client) -> None:
        Breaker("replicate").failed(AccountError("No credit.", vendor="replicate"))
        RateLimit("pinata", per_minute=60).take(3)
        shown = admin_client.get(self.page).content.decode()
        assert "No credit." in shown
        assert "3 calls in the last minute" in shown
        for action, subject, said in (
            ("pause", "generation", "Generation is paused now."),
            ("pause", "generation", "was paused already"),
            ("resume", "generation", "Generation goes on."),
            ("reset_breaker", "replicate", "Replicate is called again."),
            ("reset_rate", "pinata", "Pinata counts from zero."),
        ):
            shown = self.send(admin_client, action, subject, "<b>why</b>")
            assert said in shown
            assert "<b>why</b>" not in shown
        assert not list_breakers()[0].is_open
        assert len(audit()) == 4
        assert {row[0] for row in audit()} == {"operator admin"}
        record_action(actor="admin:maria", action="check_drift", subject="system", reason="")
        shown = admin_client.get(self.page).content.decode()
        for words in ("Check drift", "Pause stage: generation", "maria"):
            assert f"<td>{words}</td>" in shown

    def test_what_makes_no_sense_is_explained(self, admin_client: Client) -> None:
        assert "There is no stage" in self.send(admin_client, "pause", "everything")
        assert "Say why" in self.send(admin_client, "pause", "upload", " ")
        assert admin_client.post(self.page, {"action": "destroy"}).status_code == 403
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
        self, client: Client, permission: str, may: str, may_not: str
    ) -> None:
        assert client.get(self.page).status_code == 302
        RateLimit("upload", per_minute=60).take(1)
        user = User.objects.create_user("maria", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename=permission))
        client.force_login(user)
        form = {"subject": "upload", "reason": "because"}
        assert client.post(self.page, form | {"action": may_not}).status_code == 403
        assert not OperatorAction.objects.exists()
        assert client.get(self.page).status_code == (200 if may else 403)
        if may:
            assert client.post(self.page, form | {"action": may}).status_code == 302
            assert OperatorAction.objects.count() == 1

    @pytest.mark.plans
    def test_it_takes_the_same_queries_at_any_size(self, admin_client: Client) -> None:
        counts = []
        for _ in range(2):
            build_world(5)
            with CaptureQueriesContext(connection) as captured:
                assert admin_client.get(self.page).status_code == 200
            counts.append(len(captured))
        assert counts[0] == counts[1] <= 12

    def test_sidebar_and_batches_lead_there(self, admin_client: Client, client: Client) -> None:
        assert self.page in admin_client.get(reverse("admin:index")).content.decode()
        batches = reverse("admin:reveals_revealbatch_changelist")
        assert f"{self.page}#reveals" in admin_client.get(batches).content.decode()
        user = User.objects.create_user("viewer", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_revealbatch"))
        client.force_login(user)
        assert f"{self.page}#reveals" not in client.get(batches).content.decode()

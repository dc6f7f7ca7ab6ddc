"""Operators pause stages and close breakers: by permission, once, and with a trace."""

import html
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_q.models import OrmQ
from pytest_django import Settings

from glisk import pauses
from glisk.breaker import Breaker
from glisk.console.controls import (
    CONTROLS,
    list_breakers,
    list_rate_use,
    reset_breaker,
    reset_rate_limit,
)
from glisk.console.overview.causes import find_causes
from glisk.errors import AccountError, TransientError
from glisk.models import OperatorAction, SystemState
from glisk.pauses import list_pauses, pause_stage, resume_stage
from glisk.permissions import CHECK_DRIFT, RECONCILE, RESET_BREAKER, REVEAL_NOW, RUN_RECOVERY
from glisk.rate_limit import RateLimit
from glisk.tests.admin_actions import operator
from glisk.tests.pipeline_world import build_world
from glisk.tests.waiting import at_once
from glisk.timing import timing
from reveals.models import RevealRequest
from sandbox.accounts import AUTHORS
from sandbox.tests.nodes import deployed_chain, running_node
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = [pytest.mark.django_db, pytest.mark.pages]
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
    Breaker("v").failed(AccountError("No credit.", vendor="v"))
    ((name, label, trouble),) = list_breakers()
    assert (name, label) == ("v", "V")
    assert trouble is not None
    assert trouble.reason == "No credit."
    assert trouble.retry_at is not None
    assert Breaker("v").places(3) == 0
    assert reset_breaker("v", **BY)
    assert Breaker("v").places(3) == 3
    assert not reset_breaker("v", **BY)
    assert list_breakers() == [("v", "V", None)]
    (row,) = OperatorAction.objects.all()
    assert row.detail["was"]["reason"] == "No credit."


def test_a_rate_limit_is_seen_and_forgotten() -> None:
    assert RateLimit("v", per_minute=2).take(3) == 2
    assert [(use["name"], use["used"]) for use in list_rate_use()] == [("v", 2)]
    assert reset_rate_limit("v", **BY)
    assert not reset_rate_limit("v", **BY)
    assert RateLimit("v", per_minute=2).take(3) == 2
    assert [row[1] for row in audit()] == ["reset_rate_limit"]


def test_what_is_unknown_or_without_a_reason_is_refused() -> None:
    for action in (pause_stage, resume_stage, reset_breaker, reset_rate_limit):
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
    assert [(cause.name, cause.retry_at) for cause in find_causes()] == [
        ("odd", None),
        ("reveal", None),
        ("upload", None),
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", [pause_stage, resume_stage, reset_breaker])
def test_a_double_click_acts_once(action: Any) -> None:
    if action is resume_stage:
        pause_stage("upload", **BY)
    Breaker("upload").failed(AccountError("No credit.", vendor="v"))
    OperatorAction.objects.all().delete()
    assert sorted(at_once(2, lambda _: bool(action("upload", **BY)))) == [False, True]
    assert OperatorAction.objects.count() == 1


def page() -> str:
    return reverse("admin:glisk_systemstate_controls")


def send(client: Client, action: str, subject: str = "", **form: str) -> str:
    form = {"action": action, "subject": subject, "reason": "because", **form}
    answer = client.post(page(), form, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def press(client: Client, name: str) -> tuple[str, str]:
    """Press a button that acts once; return what makes it so, and what is said."""
    text = client.get(page()).content.decode()
    once = re.search(rf'value="{name}">\s*<input type="hidden" name="once" value="([^"]+)"', text)
    assert once is not None, text
    return once[1], send(client, name, once=once[1])


def test_the_page_says_what_it_did_and_keeps_the_trail(admin_client: Client) -> None:
    Breaker("replicate").failed(AccountError("No credit.", vendor="replicate"))
    RateLimit("pinata", per_minute=60).take(3)
    shown = admin_client.get(page()).content.decode()
    assert "No credit." in shown
    assert "3 calls in the last minute" in shown
    for action, subject, said in (
        ("pause", "generation", "Image generation: paused."),
        ("pause", "generation", "Image generation: there is nothing to do."),
        ("pause", "everything", "There is no stage"),
        ("resume", "generation", "Image generation: resumed."),
        ("reset_breaker", "replicate", "Replicate: the next call is made now."),
        ("reset_rate", "pinata", "Pinata: the counter is reset."),
    ):
        shown = send(admin_client, action, subject, reason="<b>why</b>")
        assert said in shown
        assert "<b>why</b>" not in shown
    assert "Say why" in send(admin_client, "pause", "upload", reason=" ")
    assert admin_client.post(page(), {"action": "destroy"}).status_code == 403
    assert len(audit()) == 4
    assert {row[0] for row in audit()} == {"operator admin"}


def test_all_that_is_ready_is_revealed_once(client: Client) -> None:
    operator(client, REVEAL_NOW)
    tokens = [TokenFactory.create(status=TokenStatus.READY) for _ in range(3)]
    Token.objects.filter(pk=tokens[2].pk).update(held_at="2026-01-01T00:00Z", hold_reason="wait")
    assert "reveal of 2 tokens" in client.get(page()).content.decode()
    once, said = press(client, "reveal_all")
    assert "2 reveals requested." in said
    wanted = set(RevealRequest.objects.values_list("token_id", "actor"))
    assert wanted == {(token.pk, "operator maria") for token in tokens[:2]}
    assert "done once" in send(client, "reveal_all", once=once)
    assert audit() == [("operator maria", "reveal_all", "system", "because")]


def test_the_worker_is_told_to_recover_and_to_compare(client: Client) -> None:
    operator(client, RUN_RECOVERY, CHECK_DRIFT)
    press(client, "recover")
    press(client, "check_drift")
    functions = {task.task["func"] for task in OrmQ.objects.all()}
    assert functions == {
        "tokens.tasks.look_at_chain",
        "tokens.tasks.prove_completeness",
        "tokens.tasks.compare_everything",
    }
    assert OperatorAction.objects.count() == 2


def test_reveals_are_reconciled_and_everything_compared(
    client: Client, settings: Settings, anvil_binary: object
) -> None:
    from tokens.tasks import compare_everything

    operator(client, RECONCILE, CHECK_DRIFT)
    assert "Nothing was compared yet." in client.get(page()).content.decode()
    with running_node() as node:
        chain = deployed_chain(node)
        settings.RPC_URL = node.rpc_url
        settings.GLISK_NFT_CONTRACT_ADDRESS = chain.contract.address
        assert "0 ready tokens compared." in press(client, "reconcile")[1]
        compare_everything()
        assert "Chain and database agree." in client.get(page()).content.decode()
        chain.wait(chain.mint(1, AUTHORS[0].address, 2))
        assert compare_everything() > 0
    text = client.get(page()).content.decode()
    assert "Chain and database differ." in text
    assert "missing: " in text
    assert "recover_tokens" in text


def test_a_node_that_is_away_is_said_and_nothing_written(
    client: Client, settings: Settings
) -> None:
    settings.RPC_URL = "http://127.0.0.1:9"
    TokenFactory.create(status=TokenStatus.READY)
    operator(client, RECONCILE)
    assert "Reconcile reveals: " in press(client, "reconcile")[1]
    assert not OperatorAction.objects.exists()


def test_each_control_needs_its_permission_and_the_page_one_of_them(client: Client) -> None:
    assert client.get(page()).status_code == 302
    everything = {control.permission for control in CONTROLS}
    for control in CONTROLS:
        operator(client, *(everything - {control.permission}), name=control.name)
        assert f'value="{control.name}"' not in client.get(page()).content.decode()
        form = {"action": control.name, "subject": "upload", "reason": "because", "once": "1"}
        assert client.post(page(), form).status_code == 403
        if control.about:  # not without having seen it
            operator(client, control.permission, name=f"{control.name}r")
            assert client.post(page(), {"action": control.name}).status_code == 403
    operator(client, "tokens.view_token")
    assert client.get(page()).status_code == 403
    assert not OperatorAction.objects.exists()


def test_who_may_see_the_state_may_look_at_the_controls_and_press_nothing(client: Client) -> None:
    Breaker("pinata").failed(AccountError("No.", vendor="pinata", status=401))
    pause_stage("upload", **BY)
    operator(client, "glisk.view_systemstate", name="viewer")
    text = client.get(page()).content.decode()
    assert "Pinata refuses our key" in text
    assert "because so" in text
    assert 'name="action"' not in text
    question = {"action": "reset_breaker", "subject": "pinata"}
    assert client.get(page(), question).status_code == 403
    assert client.post(page(), question).status_code == 403


def test_the_banners_button_asks_once_and_comes_back(client: Client) -> None:
    for name in ("chain", "rpc"):  # a dead node: one banner, one button for both
        for _ in range(3):
            Breaker(name).failed(TransientError("No route.", vendor="chain"))
    operator(client, RESET_BREAKER, "glisk.view_systemstate")
    board = html.unescape(client.get("/admin/dashboard/").content.decode())
    assert board.count("the node is unavailable") == 1
    (link,) = re.findall(r'href="([^"]*action=reset_breaker[^"]*)">Try now<', board)
    text = client.get(link).content.decode()
    assert "New mints not read, reveals paused: the node is unavailable" in text
    form = {"action": "reset_breaker", "subject": ["rpc", "chain"], "next": "dashboard"}
    answer = client.post(page(), form)
    assert answer["Location"] == reverse("admin:index")
    assert [row[1:] for row in audit()] == [
        ("reset_breaker", "rpc", "Tried again by hand."),
        ("reset_breaker", "chain", "Tried again by hand."),
    ]
    board = client.get("/admin/dashboard/").content.decode()
    assert "the node is unavailable" not in board
    assert "nothing to do" in client.get(link).content.decode()


def test_the_page_takes_the_same_queries_at_any_size(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "clock_asked", 3600)
    counts = []
    for _ in range(2):
        build_world(5)
        with CaptureQueriesContext(connection) as captured:
            assert admin_client.get(page()).status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 12


def test_sidebar_and_batches_lead_there(admin_client: Client, client: Client) -> None:
    assert page() in admin_client.get(reverse("admin:index")).content.decode()
    batches = reverse("admin:reveals_revealbatch_changelist")
    assert f"{page()}#reveals" in admin_client.get(batches).content.decode()
    operator(client, "reveals.view_revealbatch")
    assert f"{page()}#reveals" not in client.get(batches).content.decode()

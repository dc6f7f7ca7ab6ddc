"""Operators pause stages and close breakers; everything they do leaves a trace."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from glisk import pauses
from glisk.breaker import Breaker
from glisk.console.controls import list_breakers, list_rate_use, reset_breaker, reset_rate_limit
from glisk.errors import AccountError
from glisk.models import OperatorAction, SystemState
from glisk.pauses import list_pauses, pause_stage, resume_stage
from glisk.rate_limit import RateLimit

pytestmark = pytest.mark.django_db
BY: dict[str, Any] = {"actor": "ada", "reason": " because\n so "}


def audit() -> list[tuple[str, str, str, str]]:
    rows = OperatorAction.objects.order_by("pk")
    return list(rows.values_list("actor", "action", "subject", "reason"))


def test_a_stage_is_paused_and_resumed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "_REFRESH_SECONDS", 0.0)
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
    limit = RateLimit("v", per_minute=2)
    assert limit.take(3) == 2
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
    assert [pause.stage for pause in list_pauses()] == ["reveal"]
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


def test_the_time_of_a_pause_is_now() -> None:
    pause_stage("reveal", **BY)
    (pause,) = list_pauses()
    assert pause.since is not None
    assert abs(pause.since.timestamp() - time.time()) < 5

"""Every admin page opens, costs the same at any size, and lets nobody write for the machine."""

from typing import Any

import pytest
from django.contrib import admin
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_q.models import Failure, OrmQ, Schedule, Success

from authors.models import Author
from glisk.admin import actions
from glisk.admin.tables import MachineAdmin
from glisk.models import SystemState, WorkerHeartbeat
from glisk.tests.pipeline_world import build_world
from reveals.models import RevealBatch, RevealTransaction
from tokens.models import ImageGenerationJob, IPFSUploadRecord, MintEvent, PromptSample, Token
from tokens.tests.factories import TokenFactory
from webhooks.models import WebhookEvent

pytestmark = pytest.mark.django_db
MACHINE_TABLES: list[type[models.Model]] = [
    Token,
    MintEvent,
    ImageGenerationJob,
    IPFSUploadRecord,
    PromptSample,
    RevealBatch,
    RevealTransaction,
    WebhookEvent,
    SystemState,
    WorkerHeartbeat,
]
TABLES: list[type[models.Model]] = [*MACHINE_TABLES, Author]


def url(model: type[models.Model], page: str, *args: Any) -> str:
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=args)


def queries(client: Client, address: str) -> int:
    """Return the number of queries that a page takes; it must open."""
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(address)
    assert answer.status_code == 200, address
    return len(captured)


@pytest.mark.plans
def test_each_page_takes_the_same_queries_at_any_size(admin_client: Client) -> None:
    build_world(2)
    lists = [url(model, "changelist") for model in TABLES]
    firsts = [(m, m._default_manager.order_by("pk").values_list("pk")[0][0]) for m in TABLES]
    pages = [*lists, *(url(model, "change", pk) for model, pk in firsts)]
    for address in pages:
        queries(admin_client, address)  # what is cached on first use, is cached now
    few = {address: queries(admin_client, address) for address in pages}
    build_world(10)
    assert {address: queries(admin_client, address) for address in pages} == few
    assert max(few[address] for address in lists) <= 6
    assert max(few.values()) <= 13


def test_nobody_writes_for_the_machine(admin_client: Client) -> None:
    build_world(1)
    for model in MACHINE_TABLES:
        row = model._default_manager.first()
        assert row is not None
        before = model._default_manager.count()
        assert admin_client.get(url(model, "add")).status_code == 403
        assert admin_client.post(url(model, "change", row.pk), {}).status_code == 403
        assert admin_client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        admin_client.post(url(model, "changelist"), chosen)
        assert model._default_manager.count() == before, model


def test_any_search_term_and_any_key_is_answered(admin_client: Client) -> None:
    build_world(1)
    for model in TABLES:
        for term in ("' OR 1=1 %", "\x00", "9" * 5000):
            answer = admin_client.get(url(model, "changelist"), {"q": term})
            assert answer.status_code == 200, (model, term)
        assert admin_client.get(url(model, "change", "999999999")).status_code == 302, model


def test_the_task_queue_can_be_looked_at_only(admin_client: Client) -> None:
    for model in (Schedule, Failure):
        assert isinstance(admin.site.get_model_admin(model), MachineAdmin)
        assert admin_client.get(url(model, "changelist")).status_code == 200
        assert admin_client.get(url(model, "add")).status_code == 403
    for model in (Success, OrmQ):
        assert not admin.site.is_registered(model)


def test_users_and_groups_open(admin_client: Client) -> None:
    for name in ("user", "group"):
        for page in ("changelist", "add"):
            assert admin_client.get(reverse(f"admin:auth_{name}_{page}")).status_code == 200


def test_the_header_names_the_network(admin_client: Client) -> None:
    text = admin_client.get(reverse("admin:index")).content.decode()
    assert "NFT reveals on LOCAL" in text
    for group in ("Pipeline", "Chain", "Authors", "System"):
        assert group in text


def test_who_chooses_too_many_is_told_so(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MOST_AT_ONCE", 1)
    keys = [token.pk for token in TokenFactory.create_batch(2)]
    chosen = {"action": "hold", "_selected_action": keys}
    asked = admin_client.post(url(Token, "changelist"), chosen).content.decode()
    assert "this takes the first 1." in asked
    assert "1 will be done" in asked

"""Every admin page opens, costs the same at any size, and lets nobody write for the machine."""

from typing import Any
from unittest.mock import Mock

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection, models, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape
from django_q.models import Failure, OrmQ, Schedule, Success

from authors.models import Author
from glisk import __version__
from glisk.admin import actions, tables
from glisk.admin.tables import EstimatingPaginator, MachineAdmin
from glisk.models import Alert, SystemState, WorkerHeartbeat
from glisk.tests.pipeline_world import build_world
from glisk.timing import timing
from reveals.models import RevealBatch, RevealTransaction
from tokens.models import ImageGenerationJob, IPFSUploadRecord, MintEvent, PromptSample, Token
from tokens.models.job import JobStatus
from tokens.states import TokenStatus
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
    Alert,
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
def test_each_page_takes_the_same_queries_at_any_size(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "clock_asked", 3600)
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
    assert max(few.values()) <= 12


@pytest.mark.pages
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


@pytest.mark.pages
def test_any_search_term_and_any_key_is_answered(admin_client: Client) -> None:
    build_world(1)
    for model in TABLES:
        for term in ("' OR 1=1 %", "\x00", "9" * 5000):
            answer = admin_client.get(url(model, "changelist"), {"q": term})
            assert answer.status_code == 200, (model, term)
        assert admin_client.get(url(model, "change", "999999999")).status_code == 302, model


def test_an_address_or_a_form_without_sense_is_no_fault_of_ours(admin_client: Client) -> None:
    build_world(1)
    controls, tokens = reverse("admin:glisk_systemstate_controls"), url(Token, "changelist")
    for status, address in (
        (400, f"{reverse('admin-audit')}?about=tokens.token:%00"),
        (400, f"{reverse('admin-audit')}?before=0001-01-01T00:00:00%2B23:00"),
        (200, f"{tokens}?failed=%00"),
        (400, url(SystemState, "change", "\0")),
        (200, f"{tokens}?attention=%00"),
        (200, f"{controls}?action=reset_breaker&subject=%00"),
        (403, f"{tokens}action/hold/?keys=1%00"),
        (404, f"{tokens}{10**30}/picture/"),
    ):
        with transaction.atomic():  # the database ends it
            assert admin_client.get(address).status_code == status, address
            transaction.set_rollback(True)
    assert (
        admin_client.post(controls, {"action": "reset_breaker", "subject": "\0"}).status_code == 400
    )


def test_the_task_queue_can_be_looked_at_only(admin_client: Client) -> None:
    for model in (Schedule, Failure):
        assert isinstance(admin.site.get_model_admin(model), MachineAdmin)
        assert admin_client.get(url(model, "changelist")).status_code == 200
        assert admin_client.get(url(model, "add")).status_code == 403
    for model in (Success, OrmQ):
        assert not admin.site.is_registered(model)


def test_the_header_names_the_network_and_the_sidebar_leads_to_users(admin_client: Client) -> None:
    text = admin_client.get(url(User, "changelist")).content.decode()
    assert admin_client.get(url(User, "add")).status_code == 200
    assert f"{__version__} on LOCAL" in text
    for group in ("Pipeline", "System", "Access", "Audit", url(Group, "changelist")):
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


def test_rows_below_an_object_are_escaped(admin_client: Client) -> None:
    token = TokenFactory.create(status=TokenStatus.FAILED)
    ImageGenerationJob.objects.create(
        token=token,
        prompt="a",
        input={},
        service="replicate",
        attempt_number=1,
        status=JobStatus.FAILED,
        external_id="prediction",
        error="<script>alert(1)</script>",
    )
    page = admin_client.get(reverse("admin:tokens_token_change", args=[token.pk])).content.decode()
    assert "<script>alert(1)</script>" not in page
    assert f'<td data-label="Error">{escape("<script>alert(1)</script>")}</td>' in page
    table = page[page.index('aria-label="Generation jobs"') :]
    assert '<td data-label="State">failed</td>' in table
    assert "None so far." in table  # its uploads


@pytest.mark.pages
def test_only_columns_that_have_an_index_sort(admin_client: Client) -> None:
    facts = {"computed_cid": "b", "size_bytes": 1, "attempt_number": 1, "status": "failed"}
    uploads = [
        IPFSUploadRecord.objects.create(
            token=TokenFactory.create(token_id=number), upload_type=kind, **facts
        )
        for number, kind in ((1, "metadata"), (2, "image"))
    ]

    def order(table: str, column: str, sign: str = "") -> list[int]:
        address = reverse(f"admin:tokens_{table}_changelist")
        names = list(admin_client.get(address).context["cl"].list_display)
        page = admin_client.get(address, {"o": f"{sign}{names.index(column)}"})
        return [row.pk for row in page.context["cl"].result_list]

    assert order("token", "number") == [1, 2]
    assert order("token", "minted") == [2, 1]  # the youngest first
    newest_first = [uploads[1].pk, uploads[0].pk]
    assert order("ipfsuploadrecord", "upload_type") == newest_first
    assert order("ipfsuploadrecord", "upload_type", "-") == newest_first


def test_few_rows_are_counted_and_many_estimated_but_never_below_what_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "EXACT_LIMIT", 5)
    rows, counted = SystemState.objects.order_by("pk"), {}
    for number in range(6):
        counted[number] = EstimatingPaginator(rows, 2).count
        SystemState.objects.create(state_key=str(number))
    assert counted == {number: number for number in range(6)}
    assert rows.count() == 6  # one more than are counted
    assert tables.estimated_count(rows.filter(state_key="100 %")) >= 0
    assert tables.estimated_count(rows) > 0
    for estimate, count in ((1, 6), (1234, 1234)):
        monkeypatch.setattr(tables, "estimated_count", Mock(return_value=estimate))
        assert EstimatingPaginator(rows, 2).count == count


def test_a_later_page_reads_nothing_but_keys_of_the_rows_before_it() -> None:
    SystemState.objects.bulk_create(SystemState(state_key=str(n)) for n in range(5))
    rows = SystemState.objects.order_by("-pk").exclude(state_key="4")
    with CaptureQueriesContext(connection) as captured:
        page = EstimatingPaginator(rows, 2).page(2)
        assert [state.pk for state in page.object_list] == ["1", "0"]
    count, listing = (query["sql"] for query in captured)
    assert "COUNT" in count
    assert "ORDER BY" in count  # else each count reads another part of a long table
    keys = listing.partition(" IN (SELECT ")[2]
    assert "OFFSET 2" in keys
    assert "state_value" not in keys


@pytest.mark.pages
def test_an_empty_list_says_what_will_stand_in_it(admin_client: Client) -> None:
    sentences = set()
    for model in (*TABLES, Failure):
        sentence = getattr(admin.site.get_model_admin(model), "when_empty", "")
        page = admin_client.get(url(model, "changelist")).content.decode()
        assert escape(sentence) in page, model
        sentences.add(sentence)
    assert len(sentences) == len(TABLES) + 1
    assert all(sentence.endswith(".") for sentence in sentences)
    searched = admin_client.get(url(Token, "changelist"), {"q": "1"}).content.decode()
    filtered = admin_client.get(url(Token, "changelist"), {"attention": "held"}).content.decode()
    for page in (searched, filtered):
        assert "Nothing matches." in page
        assert "Clear filters" in page


def test_a_page_shows_no_field_in_which_nothing_stands(admin_client: Client) -> None:
    token = TokenFactory.create(status=TokenStatus.DETECTED)

    def labels() -> set[str]:
        page = admin_client.get(url(Token, "change", token.pk))
        form = page.context["adminform"]
        return {field for _, options in form.fieldsets for field in options["fields"]}

    empty = {"hold_reason", "metadata_json", "claims", "image_link", "revealed_at"}
    assert labels() & empty == set()
    Token.objects.update(attempts=1, image_cid="bafkreib", held_at=None)
    assert labels() & empty == {"claims", "image_link"}

"""What a table shows is escaped, and it sorts by what an index sorts."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from tokens.models import ImageGenerationJob
from tokens.models.job import JobStatus
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from webhooks.models import WebhookEvent

pytestmark = pytest.mark.django_db


def test_a_link_leads_back_to_the_filtered_list(admin_client: Client) -> None:
    TokenFactory.create(token_id=7, status=TokenStatus.FAILED)
    page = admin_client.get(reverse("admin:tokens_token_changelist"), {"status__exact": "failed"})
    back = "?_changelist_filters=status__exact%3Dfailed"
    assert reverse("admin:tokens_token_change", args=[7]) + back in page.content.decode()


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
    assert f"<td>{escape('<script>alert(1)</script>')}</td>" in page
    table = page[page.index('aria-label="Generation jobs"') :]
    assert "<td>failed</td>" in table
    assert "None so far." in table  # its uploads


def test_what_a_column_says_is_escaped(admin_client: Client) -> None:
    WebhookEvent.objects.create(
        event_id="whevt_1", event_type="GRAPHQL", body=b"{}", verdicts=[{"verdict": "<script>"}]
    )
    text = admin_client.get(reverse("admin:webhooks_webhookevent_changelist")).content.decode()
    assert "1 &lt;script&gt;" in text
    assert "1 <script>" not in text


def test_only_columns_that_have_an_index_sort(admin_client: Client) -> None:
    tokens = [TokenFactory.create(token_id=number) for number in (1, 2)]
    jobs = [
        ImageGenerationJob.objects.create(
            token=token, prompt="a", input={}, service="replicate", attempt_number=1, cost_usd=cost
        )
        for token, cost in zip(tokens, ("0.003", "0.001"), strict=True)
    ]

    def order(table: str, column: str, sign: str = "") -> list[int]:
        address = reverse(f"admin:tokens_{table}_changelist")
        names = list(admin_client.get(address).context["cl"].list_display)
        page = admin_client.get(address, {"o": f"{sign}{names.index(column)}"})
        return [row.pk for row in page.context["cl"].result_list]

    assert order("token", "number") == [1, 2]
    assert order("token", "minted") == [2, 1]  # the youngest first
    newest_first = [jobs[1].pk, jobs[0].pk]
    assert order("imagegenerationjob", "cost_usd") == newest_first
    assert order("imagegenerationjob", "cost_usd", "-") == newest_first

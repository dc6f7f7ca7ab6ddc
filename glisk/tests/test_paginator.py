"""Long tables are paged without being counted."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from glisk.admin import tables
from glisk.admin.tables import EstimatingPaginator
from glisk.models import SystemState

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "EXACT_LIMIT", 5)


@pytest.mark.parametrize("number", [0, 4, 5])
def test_few_rows_are_counted(number: int) -> None:
    SystemState.objects.bulk_create(SystemState(state_key=str(n)) for n in range(number))
    assert EstimatingPaginator(SystemState.objects.order_by("pk"), 2).count == number


def test_many_rows_are_estimated_and_never_below_what_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    SystemState.objects.bulk_create(SystemState(state_key=str(n)) for n in range(9))
    rows = SystemState.objects.order_by("pk")
    monkeypatch.setattr(tables, "estimated_count", lambda rows: 1)
    assert EstimatingPaginator(rows, 2).count == 6
    monkeypatch.setattr(tables, "estimated_count", lambda rows: 1234)
    assert EstimatingPaginator(rows, 2).count == 1234


def test_the_estimate_is_the_planners_and_reads_filters() -> None:
    SystemState.objects.bulk_create(SystemState(state_key=str(n)) for n in range(9))
    assert tables.estimated_count(SystemState.objects.filter(state_key="100 %")) >= 0
    assert tables.estimated_count(SystemState.objects.all()) > 0


def test_lists_are_counted() -> None:
    assert EstimatingPaginator([1, 2, 3], 2).count == 3


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

"""Long tables are paged without being counted."""

from unittest.mock import Mock

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


def test_few_rows_are_counted_and_many_estimated_but_never_below_what_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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

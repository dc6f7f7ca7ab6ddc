"""Long tables are paged without being counted."""

import pytest

from glisk import paginator
from glisk.models import SystemState
from glisk.paginator import EstimatingPaginator

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paginator, "EXACT_LIMIT", 5)


@pytest.mark.parametrize("number", [0, 4, 5])
def test_few_rows_are_counted(number: int) -> None:
    SystemState.objects.bulk_create(SystemState(state_key=str(n)) for n in range(number))
    assert EstimatingPaginator(SystemState.objects.order_by("pk"), 2).count == number


def test_many_rows_are_estimated_and_never_below_what_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    SystemState.objects.bulk_create(SystemState(state_key=str(n)) for n in range(9))
    rows = SystemState.objects.order_by("pk")
    monkeypatch.setattr(paginator, "estimated_count", lambda rows: 1)
    assert EstimatingPaginator(rows, 2).count == 6
    monkeypatch.setattr(paginator, "estimated_count", lambda rows: 1234)
    assert EstimatingPaginator(rows, 2).count == 1234


def test_the_estimate_is_the_planners_and_reads_filters() -> None:
    SystemState.objects.bulk_create(SystemState(state_key=str(n)) for n in range(9))
    assert paginator.estimated_count(SystemState.objects.filter(state_key="100 %")) >= 0
    assert paginator.estimated_count(SystemState.objects.all()) > 0


def test_lists_are_counted() -> None:
    assert EstimatingPaginator([1, 2, 3], 2).count == 3

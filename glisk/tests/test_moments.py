from datetime import UTC, datetime

import pytest

from glisk.clock import read_moment


@pytest.mark.parametrize(
    "text", ["2026-02-01T10:00:00+00:00", "2026-02-01T11:00:00+01:00", "2026-02-01 10:00:00"]
)
def test_a_stored_time_is_read_and_aware(text: str) -> None:
    assert read_moment(text) == datetime(2026, 2, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("text", [None, "", "soon", 17, "2026-13-01T00:00:00", ["2026-02-01"]])
def test_anything_else_counts_as_absent(text: object) -> None:
    assert read_moment(text) is None

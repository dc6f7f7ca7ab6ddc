from datetime import UTC, datetime

from glisk.clock import read_moment


def test_a_stored_time_is_read_and_aware_and_anything_else_counts_as_absent() -> None:
    for text in ("2026-02-01T10:00:00+00:00", "2026-02-01T11:00:00+01:00", "2026-02-01 10:00:00"):
        assert read_moment(text) == datetime(2026, 2, 1, 10, tzinfo=UTC)
    for nothing in (None, "", "soon", 17, "2026-13-01T00:00:00", ["2026-02-01"]):
        assert read_moment(nothing) is None

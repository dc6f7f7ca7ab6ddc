"""Requests are counted per subject and window, and nobody's address is stored."""

from datetime import timedelta

import pytest
from django.utils import timezone

from glisk.api.throttling import network_of, purge_request_counts, seconds_to_wait
from glisk.models import RequestCount

MINUTE = timedelta(minutes=1)


@pytest.mark.django_db
def test_a_window_ends_and_another_begins() -> None:
    def count() -> float | None:
        return seconds_to_wait(scope="test", subject="10.0.0.1", limit=2, window=MINUTE)

    assert [count(), count()] == [None, None]
    wait = count()
    assert wait is not None and 0 < wait <= 60
    RequestCount.objects.update(ends_at=timezone.now() - MINUTE)
    assert count() is None
    assert RequestCount.objects.get().count == 1


@pytest.mark.django_db
def test_scopes_and_subjects_are_counted_apart() -> None:
    for scope in ("a", "b"):
        for subject in ("10.0.0.1", "10.0.0.2"):
            assert seconds_to_wait(scope=scope, subject=subject, limit=1, window=MINUTE) is None
    assert RequestCount.objects.count() == 4
    assert not RequestCount.objects.filter(key__contains="10.0").exists()


@pytest.mark.django_db
def test_no_limit_counts_nothing() -> None:
    assert seconds_to_wait(scope="a", subject="b", limit=0, window=MINUTE) is None
    assert not RequestCount.objects.exists()


@pytest.mark.django_db
def test_windows_that_are_over_are_purged() -> None:
    seconds_to_wait(scope="a", subject="b", limit=1, window=MINUTE)
    assert purge_request_counts() == 0
    RequestCount.objects.update(ends_at=timezone.now() - MINUTE)
    assert purge_request_counts() == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_an_ipv6_sender_is_its_network(address: str, network: str) -> None:
    assert network_of(address) == network

"""Requests are counted by sender and window; a sender is known by our proxies' addresses alone."""

from datetime import timedelta
from ipaddress import ip_network

import pytest
from django.http import HttpRequest
from django.utils import timezone
from pytest_django import Settings

from glisk.api.throttling import (
    network_of,
    purge_request_counts,
    seconds_to_wait,
    sender_address,
)
from glisk.models import RequestCount

MINUTE = timedelta(minutes=1)


@pytest.mark.django_db
def test_a_window_ends_and_another_begins_and_old_ones_are_purged() -> None:
    def count() -> float | None:
        return seconds_to_wait(scope="test", subject="10.0.0.1", limit=2, window=MINUTE)

    assert [count(), count()] == [None, None]
    wait = count()
    assert wait is not None and 0 < wait <= 60
    RequestCount.objects.update(ends_at=timezone.now() - MINUTE)
    assert count() is None
    assert RequestCount.objects.get().count == 1
    assert purge_request_counts() == 0
    RequestCount.objects.update(ends_at=timezone.now() - MINUTE)
    assert purge_request_counts() == 1


@pytest.mark.django_db
def test_scopes_and_subjects_are_counted_apart_and_not_named() -> None:
    assert seconds_to_wait(scope="a", subject="b", limit=0, window=MINUTE) is None
    assert not RequestCount.objects.exists()
    for scope in ("a", "b"):
        for subject in ("10.0.0.1", "10.0.0.2"):
            assert seconds_to_wait(scope=scope, subject=subject, limit=1, window=MINUTE) is None
    assert RequestCount.objects.count() == 4
    assert not RequestCount.objects.filter(key__contains="10.0").exists()


def test_an_ipv6_sender_is_its_network() -> None:
    for address, network in {
        "203.0.113.7": "203.0.113.7",
        "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
        "2001:db8:1:2::1": "2001:db8:1:2::/64",
        "::ffff:203.0.113.7": "203.0.113.7",
        "": "",
        "no address": "no address",
    }.items():
        assert network_of(address) == network


SENDERS = [
    ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
    ("10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),  # the left one is made up
    ("10.0.0.1", "10.9.9.9, 203.0.113.9, 192.0.2.7, 10.1.1.1", "203.0.113.9"),
    ("192.0.2.7", "2001:db8:77::1", "2001:db8:77::1"),
    ("2001:db8:5::1", "203.0.113.9", "203.0.113.9"),
    ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
    ("10.0.0.1", "203.0.113.9:41234", "203.0.113.9"),
    ("10.0.0.1", "[2001:db8:77::1]:41234", "2001:db8:77::1"),
    ("10.0.0.1", "10.7.7.7", "10.7.7.7"),  # out of our own network: the farthest machine
    # A stranger is not believed.
    ("203.0.113.9", "1.2.3.4", "203.0.113.9"),
    ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
    ("192.0.2.8", "1.2.3.4", "192.0.2.8"),
    ("2001:db8:6::1", "1.2.3.4", "2001:db8:6::1"),
    ("::ffff:11.0.0.1", "1.2.3.4", "::ffff:11.0.0.1"),
    # A proxy that does not say whom it heard is the sender.
    *[("10.0.0.1", said, "10.0.0.1") for said in (None, "", "unknown", "1.2.3.4, _hidden", "☂")],
]


def test_the_first_address_that_is_no_proxy_is_the_senders(settings: Settings) -> None:
    networks = ("10.0.0.0/8", "192.0.2.7", "2001:db8:5::/48")
    settings.TRUSTED_PROXIES = [ip_network(network) for network in networks]
    for remote, forwarded, expected in SENDERS:
        request = HttpRequest()
        request.META["REMOTE_ADDR"] = remote
        if forwarded is not None:
            request.META["HTTP_X_FORWARDED_FOR"] = forwarded
        assert sender_address(request) == expected, (remote, forwarded)

"""Who sent a request is known by the addresses of our proxies, and by nothing a visitor writes."""

from ipaddress import ip_network

import pytest
from django.http import HttpRequest
from pytest_django import Settings

from glisk.api.throttling import sender_address


def sender(remote: str, forwarded: str | None = None) -> str:
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = remote
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    return sender_address(request)


@pytest.fixture(autouse=True)
def _proxies(settings: Settings) -> None:
    networks = ("10.0.0.0/8", "192.0.2.7", "2001:db8:5::/48")
    settings.TRUSTED_PROXIES = [ip_network(network) for network in networks]


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),  # the left one is made up
        ("10.0.0.1", "10.9.9.9, 203.0.113.9, 192.0.2.7, 10.1.1.1", "203.0.113.9"),
        ("192.0.2.7", "2001:db8:77::1", "2001:db8:77::1"),
        ("2001:db8:5::1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9:41234", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8:77::1]:41234", "2001:db8:77::1"),
    ],
)
def test_the_first_address_that_is_no_proxy_is_the_senders(
    remote: str, forwarded: str, expected: str
) -> None:
    assert sender(remote, forwarded) == expected


@pytest.mark.parametrize("remote", ["203.0.113.9", "192.0.2.8", "2001:db8:6::1", "::ffff:11.0.0.1"])
def test_a_stranger_is_not_believed(remote: str) -> None:
    assert sender(remote, "1.2.3.4") == remote
    assert sender(remote, "10.0.0.1") == remote


@pytest.mark.parametrize("forwarded", [None, "", "unknown", "1.2.3.4, _hidden", "1.2.3.4,", "☂"])
def test_a_proxy_that_does_not_say_whom_it_heard_is_the_sender(forwarded: str | None) -> None:
    assert sender("10.0.0.1", forwarded) == "10.0.0.1"


def test_a_request_out_of_our_own_network_is_its_farthest_machines() -> None:
    assert sender("10.0.0.1", "10.7.7.7") == "10.7.7.7"

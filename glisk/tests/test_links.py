"""Links that pages show to everybody."""

import pytest
from pytest_django import Settings

from glisk.clients.links import gateway_origin, gateway_url


@pytest.mark.parametrize(
    ("gateway", "origin", "link"),
    [
        ("x.mypinata.cloud", "https://x.mypinata.cloud", "https://x.mypinata.cloud/ipfs/Qm1"),
        ("https://ipfs.io/ipfs/", "https://ipfs.io", "https://ipfs.io/ipfs/Qm1"),
        ("http://node:8603/own", "http://node:8603", "http://node:8603/own/ipfs/Qm1"),
        ("https://us:pw@own.example?key=k", "https://own.example", "https://own.example/ipfs/Qm1"),
    ],
)
def test_a_gateways_link_is_one_that_everybody_may_see(
    settings: Settings, gateway: str, origin: str, link: str
) -> None:
    settings.PINATA_GATEWAY = [gateway, "fallback.example"]
    assert gateway_origin() == origin
    assert gateway_url("Qm1") == link
    assert gateway_url(None) == ""

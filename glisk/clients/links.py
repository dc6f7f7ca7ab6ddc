"""Where people can look things up: the IPFS gateway and the chain's explorer."""

from typing import Literal
from urllib.parse import quote, urlsplit

from django.conf import settings

from glisk.clients.ipfs import gateway_base_url


def gateway_origin() -> str:
    """Return scheme, host and port of the first gateway, as a browser's policy names them."""
    parts = urlsplit(gateway_base_url(settings.PINATA_GATEWAY[0]))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def gateway_url(cid: str | None) -> str:
    """Return a browser's link to a CID, or nothing.

    Without the gateway's token, or what its address holds of a user, a password or a key: pages
    show this link to everybody, and these are ours.
    """
    if not cid:
        return ""
    path = urlsplit(gateway_base_url(settings.PINATA_GATEWAY[0])).path
    return f"{gateway_origin()}{path}/ipfs/{quote(cid, safe='')}"


def explorer_url(kind: Literal["tx", "address", "block"], value: str | int | None) -> str:
    """Return the explorer's page of something, or nothing on a network without an explorer."""
    base = settings.EXPLORER_URL
    return f"{base}/{kind}/{value}" if base and value not in (None, "") else ""

"""Where people can look things up: the IPFS gateway and the chain's explorer."""

from urllib.parse import quote

from django.conf import settings


def gateway_origin() -> str:
    """Return the first gateway's URL without a trailing slash (setting: host or full URL)."""
    gateway: str = settings.PINATA_GATEWAY[0].rstrip("/")
    return gateway if "://" in gateway else f"https://{gateway}"


def gateway_url(cid: str | None) -> str:
    """Return a browser's link to a CID, or nothing.

    Without the gateway's token: pages show this link to everybody, and the token is ours.
    """
    return f"{gateway_origin()}/ipfs/{quote(cid, safe='')}" if cid else ""


def explorer_transaction_url(tx_hash: str | None) -> str:
    """Return the explorer's page of a transaction, or nothing on a network without one."""
    base = settings.EXPLORER_URL
    return f"{base}/tx/{tx_hash}" if base and tx_hash else ""


def explorer_address_url(address: str | None) -> str:
    """Return the explorer's page of an address, or nothing on a network without one."""
    base = settings.EXPLORER_URL
    return f"{base}/address/{address}" if base and address else ""


def explorer_block_url(block_number: int | None) -> str:
    """Return the explorer's page of a block, or nothing on a network without one."""
    base = settings.EXPLORER_URL
    return f"{base}/block/{block_number}" if base and block_number is not None else ""

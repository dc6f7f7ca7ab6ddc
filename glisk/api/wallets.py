"""Wallets as callers write them."""

from django.core.exceptions import ValidationError

from glisk.fields import normalise_address


def parse_wallet(text: str) -> str | None:
    """Return the EIP-55 form of an address in any letter case, or None if it is no address."""
    if text.startswith("0X"):
        text = "0x" + text[2:]
    try:
        return normalise_address(text)
    except ValidationError:
        return None

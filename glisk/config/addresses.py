"""Ethereum's hash and its addresses, for processes that start: eth_utils takes 0.2 s of CPU."""

from __future__ import annotations


def keccak256(data: bytes) -> bytes:
    """Return the 32 bytes of Keccak-256, which is not SHA3-256."""
    from Crypto.Hash import keccak

    return keccak.new(data=data, digest_bits=256).digest()


def to_checksum_address(address: str) -> str:
    """Return 0x and 40 hex digits in the letter case of EIP-55 (https://eips.ethereum.org/EIPS/eip-55)."""
    digits = address[2:].lower()
    nibbles = keccak256(digits.encode()).hex()
    cased = (
        digit.upper() if nibble >= "8" else digit
        for digit, nibble in zip(digits, nibbles, strict=False)
    )
    return "0x" + "".join(cased)


def is_miscased(address: str) -> bool:
    """Tell whether an address in upper and lower case letters has a wrong EIP-55 checksum."""
    digits = address[2:]
    return (
        digits not in (digits.lower(), digits.upper())
        and digits != to_checksum_address(address)[2:]
    )

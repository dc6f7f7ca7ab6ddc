"""The accounts of local test nodes: anvil and hardhat print their keys, so everybody has them.

They are made of one mnemonic (BIP 39, BIP 32, path m/44'/60'/0'/0/n). By hand, since each process
looks at its start: eth-account takes two seconds for the same (a test compares both).
"""

import hashlib
import hmac
from functools import lru_cache
from typing import Final

_MNEMONIC: Final = "test test test test test test test test test test test junk"
# A node gives out 10 (anvil) or 20 (hardhat) unless told otherwise.
_COUNT: Final = 100
_HARDENED: Final = 1 << 31
SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def address_of(private_key: str) -> str:
    """Return the checksum address of a private key in hex."""
    return _address(int(private_key, 16))


def is_development_key(text: str) -> bool:
    """Tell whether this is the private key of such an account, in any form of hex."""
    try:
        key = int(text, 16)
    except ValueError:
        return False
    return 0 < key < SECP256K1_ORDER and _address(key) in development_addresses()


@lru_cache(maxsize=1)
def development_addresses() -> frozenset[str]:
    """Return the first 100 addresses, with their checksums; takes some 20 ms."""
    seed = hashlib.pbkdf2_hmac("sha512", _MNEMONIC.encode(), b"mnemonic", 2048)
    digest = hmac.digest(b"Bitcoin seed", seed, "sha512")
    key, chain = int.from_bytes(digest[:32], "big"), digest[32:]
    for index in (44 | _HARDENED, 60 | _HARDENED, 0 | _HARDENED, 0):
        data = b"\0" + key.to_bytes(32, "big") if index & _HARDENED else _point(key)
        key, chain = _child(key, chain, data, index)
    data = _point(key)
    return frozenset(_address(_child(key, chain, data, index)[0]) for index in range(_COUNT))


def _child(key: int, chain: bytes, data: bytes, index: int) -> tuple[int, bytes]:
    """Return a child's key and chain code (BIP 32, CKDpriv); `data` is what stands for the key."""
    digest = hmac.digest(chain, data + index.to_bytes(4, "big"), "sha512")
    return (key + int.from_bytes(digest[:32], "big")) % SECP256K1_ORDER, digest[32:]


def _point(key: int) -> bytes:
    from eth_keys.datatypes import PrivateKey

    return PrivateKey(key.to_bytes(32, "big")).public_key.to_compressed_bytes()


def _address(key: int) -> str:
    from eth_keys.datatypes import PrivateKey

    return PrivateKey(key.to_bytes(32, "big")).public_key.to_checksum_address()

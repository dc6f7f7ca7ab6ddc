"""Check a token's provenance without trusting whoever tells it: `python -m glisk.verify FILE`.

This package stands alone: the standard library and `glisk.cid`; no Django, no database, no key.
docs/provenance.md describes the bundle.
"""

import hashlib
from typing import Final

FORMAT: Final = "glisk-provenance"
VERSION: Final = 1


def prompt_digest(*, salt: str, prompt: str) -> str:
    """Return what a token's metadata says of its prompt: SHA-256 of salt and prompt, in hex.

    `salt` is 16 random bytes in hex: a prompt that stays private cannot be guessed by trying.
    """
    return hashlib.sha256(bytes.fromhex(salt) + prompt.encode()).hexdigest()

"""Check a token's provenance without trusting whoever tells it: `python -m glisk.verify FILE`.

This package stands alone: the standard library and `glisk.cid`; no Django, no database, no key.
docs/provenance.md describes the bundle.
"""

import hashlib
import json
from typing import Any, Final

FORMAT: Final = "glisk-provenance"
VERSION: Final = 1
SALT_BYTES: Final = 16


def canonical_json(document: Any) -> str:
    """Return the one text in which a token's metadata is written: sorted keys, no blanks."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def prompt_digest(*, salt: str, prompt: str) -> str:
    """Return what a token's metadata says of its prompt: SHA-256 of salt and prompt, in hex.

    `salt` is 16 random bytes in hex: a prompt that stays private cannot be guessed by trying.
    Raises ValueError for another length, which would move letters between salt and prompt.
    """
    salted = bytes.fromhex(salt)
    if len(salted) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salted)}")
    return hashlib.sha256(salted + prompt.encode()).hexdigest()

"""JSON from outside: as the standard parser reads it, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Final

# Far more than any vendor sends, far less than a thread's stack holds.
MAX_DEPTH: Final = 5_000
_NOT_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")


def loads(body: bytes, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Parse UTF-8 JSON from outside; raise `ValueError` if it is none or nests too deeply.

    py_ecc, which web3 imports, lifts Python's recursion limit so far that a deep body would end
    the process. So the depth is looked at first; brackets in texts count as well.
    """
    brackets = body.translate(None, _NOT_BRACKETS)
    if len(brackets) > MAX_DEPTH:
        depths = accumulate(1 if code in b"[{" else -1 for code in brackets)
        if max(depths) > MAX_DEPTH:
            raise ValueError("nested too deeply")
    try:
        return json.loads(body.decode("utf-8"), parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None

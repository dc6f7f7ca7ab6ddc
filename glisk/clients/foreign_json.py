"""Read JSON from outside without trusting its depth.

The interpreter's recursion limit ends a parse that nests too deeply, but it is counted per thread
and coroutine library, and a count that is off ends the process instead. A body that could exhaust
the stack is therefore refused before it is parsed.
"""

import json
from collections.abc import Callable
from typing import Any

# Far more than any vendor sends, far less than a thread's stack holds.
MAX_DEPTH = 5_000

_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")


def loads(body: bytes, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Parse UTF-8 JSON; raise `ValueError` for anything that is none or nests too deeply."""
    if _depth(body) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    try:
        return json.loads(body.decode("utf-8"), parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _depth(body: bytes) -> int:
    """Return an upper bound of the nesting: brackets in texts count as well."""
    brackets = body.translate(None, _NOT_BRACKETS)
    opening = brackets.count(b"[") + brackets.count(b"{")
    if opening <= MAX_DEPTH:
        return opening
    depth = deepest = 0
    for code in brackets:
        if code in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest

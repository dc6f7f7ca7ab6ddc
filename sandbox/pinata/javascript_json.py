"""Write JSON the way JavaScript's JSON.stringify does, which decides the CID of pinned JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

LARGEST_ARRAY_INDEX = 2**32 - 2


def stringify(content: Any) -> str:
    """Serialize parsed JSON without spaces, with JavaScript's numbers and order of keys."""
    if isinstance(content, dict):
        members = (f"{_string(key)}:{stringify(content[key])}" for key in _ordered(content))
        return "{" + ",".join(members) + "}"
    if isinstance(content, list):
        return "[" + ",".join(stringify(item) for item in content) + "]"
    if isinstance(content, (int, float)) and not isinstance(content, bool):
        return _number(float(content))
    return _string(content) if isinstance(content, str) else json.dumps(content)


def _ordered(content: dict[str, Any]) -> list[str]:
    # Objects list keys that look like array indices first, in ascending order.
    indices = [key for key in content if _is_index(key)]
    return sorted(indices, key=int) + [key for key in content if not _is_index(key)]


def _is_index(key: str) -> bool:
    return (
        key.isascii() and key.isdigit() and str(int(key)) == key and int(key) <= LARGEST_ARRAY_INDEX
    )


def _string(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\x7f")
    return "".join(
        f"\\u{ord(character):04x}" if 0xD800 <= ord(character) <= 0xDFFF else character
        for character in quoted
    )


def _number(number: float) -> str:
    if number == 0:
        return "0"  # -0 too
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    point = len(text) + exponent  # position of the decimal point, counted from the first digit
    if 0 < point <= 21:
        text = text.ljust(point, "0")
        body = text if len(text) == point else f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        body = "0." + "0" * -point + text
    else:
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        body = f"{text[0]}{fraction}e{point - 1:+d}"
    return ("-" if sign else "") + body

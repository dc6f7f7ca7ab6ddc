"""JSON from outside: as the standard parser reads it, or refused."""

import json
import sys

import pytest

from glisk.clients.foreign_json import MAX_DEPTH, loads


@pytest.mark.parametrize("value", [{}, [], None, 1.5, "é", {"a": [{"b": None}]}, "[" * 900])
def test_what_is_json_is_read(value: object) -> None:
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": }', b"[1] 2", b"\xef\xbb\xbf{}"])
def test_what_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON and UTF-8 errors are both of this kind
        loads(body)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"[{" * 3_000])
def test_depth_is_refused_whatever_the_recursion_limit(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)  # without the check, this would end the process
    try:
        with pytest.raises(ValueError, match="nested too deeply"):
            loads(body)
    finally:
        sys.setrecursionlimit(limit)


def test_many_brackets_side_by_side_are_not_depth() -> None:
    assert loads(b"[" + b",".join([b"[]"] * (2 * MAX_DEPTH)) + b"]") == [[]] * (2 * MAX_DEPTH)

"""JSON from outside: as the standard parser reads it, or refused."""

import json
import sys

import pytest

from glisk.foreign_json import MAX_DEPTH, loads


def test_what_is_json_is_read_and_anything_else_refused() -> None:
    values: list[object] = [{}, [], None, 1.5, "é", {"a": [{"b": None}]}, "[" * 900]
    for value in values:
        assert loads(json.dumps(value, ensure_ascii=False).encode()) == value
    for body in (b"", b"{", b"\xff", b'{"a": }', b"[1] 2", b"\xef\xbb\xbf{}"):
        with pytest.raises(ValueError):  # noqa: PT011 - JSON and UTF-8 errors are of this kind
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

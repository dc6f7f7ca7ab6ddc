"""Multipart bodies and JavaScript's JSON, byte by byte."""

from __future__ import annotations

import json
import math

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from sandbox.pinata.javascript_json import stringify
from sandbox.pinata.multipart import MalformedMultipart, Part, parse_multipart


def test_the_body_of_requests_is_read() -> None:
    prepared = requests.Request(
        "POST",
        "http://x/",
        files={"file": ("bild ü.png", b"\x00\r\n--\r\nbytes", "image/png")},
        data={"pinataMetadata": '{"name": "ü"}'},
    ).prepare()
    assert isinstance(prepared.body, bytes)
    parts = parse_multipart(prepared.headers["Content-Type"], prepared.body)
    assert parts == [
        Part("pinataMetadata", None, "text/plain", '{"name": "ü"}'.encode()),
        Part("file", "bild ü.png", "image/png", b"\x00\r\n--\r\nbytes"),
    ]


def test_the_body_of_httpx_is_read() -> None:
    request = httpx.Request(
        "POST", "http://x/", files={"file": ("a.bin", b"one")}, data={"note": "two"}
    )
    parts = parse_multipart(request.headers["Content-Type"], request.read())
    assert {part.name: part.content for part in parts} == {"file": b"one", "note": b"two"}


def body_of(*parts: bytes, boundary: bytes = b"xyz") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + (
        b"--" + boundary + b"--\r\n"
    )


FIELD = b'Content-Disposition: form-data; name="a"\r\n\r\nvalue'


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=xyz",
        'multipart/form-data; boundary="xyz"',
        "Multipart/Form-Data; charset=utf-8; boundary=xyz",
    ],
)
def test_boundaries_may_be_quoted(content_type: str) -> None:
    assert parse_multipart(content_type, body_of(FIELD))[0].content == b"value"


def test_preamble_epilogue_and_padding_are_skipped() -> None:
    body = b"preamble\r\n--xyz \t\r\n" + FIELD + b"\r\n--xyz--\r\nepilogue --xyz"
    assert [part.name for part in parse_multipart("multipart/form-data; boundary=xyz", body)] == [
        "a"
    ]


def test_bare_line_feeds_are_understood() -> None:
    body = b'--xyz\nContent-Disposition: form-data; name="a"\n\nvalue\n--xyz--\n'
    assert parse_multipart("multipart/form-data; boundary=xyz", body)[0].content == b"value"


def test_a_boundary_within_a_line_or_a_longer_word_is_content() -> None:
    content = b"text --xyz text\r\n--xyzz\r\nmore"
    part = b'Content-Disposition: form-data; name="a"\r\n\r\n' + content
    parts = parse_multipart("multipart/form-data; boundary=xyz", body_of(part))
    assert [part.content for part in parts] == [content]


def test_encoded_file_names_are_decoded() -> None:
    header = b"Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%C3%BC%20x.png"
    parts = parse_multipart("multipart/form-data; boundary=xyz", body_of(header + b"\r\n\r\n."))
    assert parts[0].filename == "ü x.png"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", body_of(FIELD)),
        ("multipart/form-data; boundary=other", body_of(FIELD)),
        ("multipart/form-data; boundary=xyz", b""),
        ("multipart/form-data; boundary=xyz", body_of(FIELD)[:-8]),
        ("multipart/form-data; boundary=xyz", body_of(b"no headers")),
        ("multipart/form-data; boundary=xyz", body_of(b"X: y\r\n\r\nno name")),
    ],
)
def test_what_is_no_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(MalformedMultipart):
        parse_multipart(content_type, body)


@given(st.lists(st.binary(), min_size=1, max_size=4))
def test_any_bytes_come_through(contents: list[bytes]) -> None:
    files = [("file", (f"{number}.bin", content)) for number, content in enumerate(contents)]
    prepared = requests.Request("POST", "http://x/", files=files).prepare()
    assert isinstance(prepared.body, bytes)
    parts = parse_multipart(prepared.headers["Content-Type"], prepared.body)
    assert [part.content for part in parts] == contents


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1.0", "1"),
        ("-0.0", "0"),
        ("0.1", "0.1"),
        ("123456789012345680000", "123456789012345680000"),
        ("1e21", "1e+21"),
        ("1.5e300", "1.5e+300"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("-1.25e-9", "-1.25e-9"),
        ("9007199254740993", "9007199254740992"),
        ("100", "100"),
        ("true", "true"),
        ("null", "null"),
        ('"\\u00fc\\u2028\\ud83d\\ude00"', '"ü\u2028😀"'),
        ('"\\ud83d"', '"\\ud83d"'),
        ('"\\b\\f\\n\\r\\t\\u0001\\"\\\\/"', '"\\b\\f\\n\\r\\t\\u0001\\"\\\\/"'),
        ('{ "b": 1, "a": [ 1, 2 ] }', '{"b":1,"a":[1,2]}'),
        ('{"b":1,"2":2,"01":3,"1":4}', '{"1":4,"2":2,"b":1,"01":3}'),
        ("{}", "{}"),
        ("[]", "[]"),
    ],
)
def test_json_is_written_as_by_javascript(text: str, written: str) -> None:
    assert stringify(json.loads(text)) == written


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_their_value(number: float) -> None:
    assert math.isclose(float(stringify(number)), number, rel_tol=0, abs_tol=0)

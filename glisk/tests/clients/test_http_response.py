"""Replies are read as Python's own reader reads them, without its e-mail parser."""

import http.client
import socket
from email.feedparser import FeedParser

import pytest

from glisk.clients.http_response import PlainResponse

HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 201 Created\r\ncontent-length:2\r\nX-One: a\r\nX-One: b\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 9\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Close\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nX-Empty:\r\nX-Colon: a:b: c \r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nX-Latin: \xe9\xa0\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>",
]
# Where the mail parser stops reading headers, or keeps the fold of a long one.
UNTIDY = {
    b"HTTP/1.1 200 OK\r\nno header\r\nX-A: b\r\n\r\n": [("X-A", "b")],
    b"HTTP/1.1 200 OK\r\n: nameless\r\nX-A: b\r\n\r\n": [("X-A", "b")],
    b"HTTP/1.1 200 OK\r\n folded: at once\r\nX-A: b\r\n\r\n": [("folded", "at once"), ("X-A", "b")],
    b"HTTP/1.1 200 OK\r\nX-A: b\r\n\tc\r\nX-D : e\r\n\r\n": [("X-A", "b c"), ("X-D", "e")],
}


def read(head: bytes, kind: type[http.client.HTTPResponse]) -> http.client.HTTPResponse:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(head)
        theirs.shutdown(socket.SHUT_WR)
        response = kind(ours, method="POST")
        response.begin()
        return response


def facts(head: bytes, kind: type[http.client.HTTPResponse]) -> dict[str, object]:
    response = read(head, kind)
    found = {
        name: getattr(response, name)
        for name in ("status", "reason", "version", "chunked", "length", "will_close", "code")
    }
    headers = [(name, value.strip(" \t\r\n")) for name, value in response.headers.items()]
    try:
        return {**found, "headers": headers, "body": response.read()}
    except http.client.IncompleteRead as error:
        return {**found, "headers": headers, "broken": error.partial}


@pytest.mark.parametrize("head", HEADS, ids=lambda head: repr(head[:40]))
def test_a_head_in_order_is_read_as_python_reads_it(head: bytes) -> None:
    assert facts(head, PlainResponse) == facts(head, http.client.HTTPResponse)


@pytest.mark.parametrize("head", UNTIDY, ids=lambda head: repr(head[17:40]))
def test_of_an_untidy_head_the_headers_are_kept(head: bytes) -> None:
    assert read(head, PlainResponse).headers.items() == UNTIDY[head]


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"<html>",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    ],
    ids=lambda head: repr(head[:24]),
)
def test_what_is_no_head_is_refused_as_python_refuses_it(head: bytes) -> None:
    for kind in (PlainResponse, http.client.HTTPResponse):
        with pytest.raises(http.client.HTTPException):
            read(head, kind)


def test_no_mail_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(parser: FeedParser, data: str) -> None:
        raise AssertionError("a mail was parsed")

    monkeypatch.setattr(FeedParser, "feed", refuse)
    assert read(HEADS[0], PlainResponse).status == 200

"""Speak HTTP/1.1 over one asyncio connection.

Written by hand because the standard library's threaded server costs a thread per connection
and a full e-mail parser per request; an emulator shares two cores with what it is to measure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from sandbox.http.messages import Request, Response

MAX_HEADER_BYTES = 64 * 1024
MAX_BODY_BYTES = 128 * 1024 * 1024
SLOW_STEP_SECONDS = 0.05

Answer = Callable[[Request], Awaitable[Response | None]]


class BadRequest(Exception):
    """Say that the bytes received are no HTTP request that we can serve."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class Connection(asyncio.Protocol):
    """Parse requests, hand them over one at a time, write the replies.

    `answer` returns None to have the connection reset without a reply.
    """

    def __init__(self, answer: Answer, open_connections: set[Connection]) -> None:
        self._answer = answer
        self._open = open_connections
        self._buffer = bytearray()
        self._head: Request | None = None
        self._body: ChunkedBody | SizedBody | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        # The handler runs on: a vendor that accepted a job does not forget it because the
        # client hung up.
        self._transport = None
        self._open.discard(self)

    def abort(self) -> None:
        """Reset the connection, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._advance()

    def _advance(self) -> None:
        try:
            request = self._next_request()
        except BadRequest as error:
            self._write(Response(error.status), "GET", keep_alive=False)
            return
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._serve(request))

    def _next_request(self) -> Request | None:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEADER_BYTES:
                    raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return None
            self._head = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            self._body = body_reader(self._head)
            if self._head.headers.get("expect", "").lower() == "100-continue" and self._transport:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert self._body is not None
        if not self._body.feed(self._buffer):
            return None
        request, self._head = self._head, None
        request.body = self._body.content()
        self._body = None
        return request

    async def _serve(self, request: Request) -> None:
        try:
            response = await self._answer(request)
            if response is None:
                self.abort()
                return
            keep_alive = request.headers.get("connection", "").lower() != "close"
            if response.bytes_per_second > 0:
                await self._write_slowly(response, request.method)
            else:
                self._write(response, request.method, keep_alive)
        finally:
            self._task = None
        if self._transport is not None and not self._transport.is_closing():
            self._advance()

    def _write(self, response: Response, method: str, keep_alive: bool) -> None:
        if self._transport is None:
            return
        head = encode_head(response, keep_alive)
        body = b"" if method == "HEAD" else response.body
        if response.cut_after is not None:
            self._transport.write(head + body[: response.cut_after])
            # Closing at once would drop what is not yet sent; a short body is the point here.
            self._transport.close()
            return
        self._transport.write(head + body)
        if not keep_alive:
            self._transport.close()

    async def _write_slowly(self, response: Response, method: str) -> None:
        self._send(encode_head(response, keep_alive=True))
        body = b"" if method == "HEAD" else response.body
        step = max(1, int(response.bytes_per_second * SLOW_STEP_SECONDS))
        for start in range(0, len(body), step):
            if not self._send(body[start : start + step]):
                return
            await asyncio.sleep(SLOW_STEP_SECONDS)

    def _send(self, content: bytes) -> bool:
        """Send on, unless the client has hung up meanwhile."""
        if self._transport is None:
            return False
        self._transport.write(content)
        return True


class SizedBody:
    """Collect a body whose length is known."""

    def __init__(self, size: int) -> None:
        if size > MAX_BODY_BYTES:
            raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self._size = size
        self._content = b""

    def feed(self, buffer: bytearray) -> bool:
        """Take the body off the buffer; return whether it is complete."""
        if len(buffer) < self._size:
            return False
        self._content = bytes(buffer[: self._size])
        del buffer[: self._size]
        return True

    def content(self) -> bytes:
        """Return the whole body."""
        return self._content


class ChunkedBody:
    """Collect a body in chunked transfer coding."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._in_trailer = False

    def feed(self, buffer: bytearray) -> bool:
        """Take complete chunks off the buffer; return whether the last one was seen."""
        while True:
            line_end = buffer.find(b"\r\n")
            if line_end < 0:
                return False
            if self._in_trailer:
                del buffer[: line_end + 2]
                if line_end == 0:
                    return True
                continue
            try:
                size = int(bytes(buffer[:line_end]).partition(b";")[0], 16)
            except ValueError:
                raise BadRequest(HTTPStatus.BAD_REQUEST) from None
            if size + len(self._content) > MAX_BODY_BYTES:
                raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if size == 0:
                del buffer[: line_end + 2]
                self._in_trailer = True
                continue
            if len(buffer) < line_end + 2 + size + 2:
                return False
            self._content += buffer[line_end + 2 : line_end + 2 + size]
            del buffer[: line_end + 2 + size + 2]

    def content(self) -> bytes:
        """Return the whole body."""
        return bytes(self._content)


def body_reader(head: Request) -> ChunkedBody | SizedBody:
    """Choose how the body that follows a head is read."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return ChunkedBody()
    length = head.headers.get("content-length", "0")
    if not length.isdigit():
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    return SizedBody(int(length))


def parse_head(head: bytes) -> Request:
    """Parse a request line and its headers; raises BadRequest."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, text = line.partition(":")
        if not colon:
            raise BadRequest(HTTPStatus.BAD_REQUEST)
        headers[name.strip().lower()] = text.strip()
    if words[2] == "HTTP/1.0":
        headers.setdefault("connection", "close")
    target = words[1]
    if target.startswith("http://"):
        target = "/" + target[7:].partition("/")[2]
    return Request(words[0], target, headers)


def encode_head(response: Response, keep_alive: bool) -> bytes:
    """Build the status line and the headers of a reply."""
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    lines += [f"{name}: {text}" for name, text in response.headers.items()]
    if "Content-Length" not in response.headers and response.status not in (204, 304):
        lines.append(f"Content-Length: {len(response.body)}")
    lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

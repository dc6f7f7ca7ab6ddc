"""Read the head of an HTTP reply without Python's e-mail parser.

`http.client` takes headers for those of a mail, of many parts perhaps: that is a quarter of what
a call costs in CPU. Of a head in order this makes the same; a line that is no header is skipped.
"""

from __future__ import annotations

import http.client
from typing import Any, Final

_MAX_LINE_BYTES: Final = 65_536
_MAX_HEADERS: Final = 100
_END: Final = (b"\r\n", b"\n", b"")
_BLANKS: Final = " \t\r\n"
_BODILESS: Final = (204, 304)


class PlainResponse(http.client.HTTPResponse):
    """A reply whose headers are read line by line (RFC 9112, section 5)."""

    # Set by `begin` in the standard library, whose stubs do not know them.
    _method: str
    _check_close: Any
    _read_status: Any

    def begin(self) -> None:
        """Read status line and headers; raise `http.client.HTTPException` if they are none."""
        if getattr(self, "headers", None) is not None:
            return
        version, status, reason = self._read_status()
        while status == 100:  # the server says "go on", its answer follows
            self._read_headers()
            version, status, reason = self._read_status()
        self.code = self.status = status
        self.reason = reason.strip()
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.version = 10 if version == "HTTP/1.0" else 11
        self.headers = self.msg = self._read_headers()
        coding = self.headers.get("transfer-encoding") or ""
        self.chunked = coding.lower() == "chunked"
        self.chunk_left: int | None = None
        self.will_close = self._check_close()
        self.length = None if self.chunked else self._announced_length()
        if status in _BODILESS or 100 <= status < 200 or self._method == "HEAD":
            self.length = 0
        if not self.chunked and self.length is None:
            self.will_close = True

    def _announced_length(self) -> int | None:
        try:
            length = int(self.headers.get("content-length") or "")
        except ValueError:
            return None
        return length if length >= 0 else None

    def _read_headers(self) -> http.client.HTTPMessage:
        found: list[tuple[str, str]] = []
        for line in self._lines():
            if line[0] in _BLANKS and found:  # the former header goes on
                name, value = found[-1]
                found[-1] = (name, f"{value} {line.strip(_BLANKS)}".strip(_BLANKS))
                continue
            name, colon, value = line.partition(":")
            if colon and name.strip(_BLANKS):
                found.append((name.strip(_BLANKS), value.strip(_BLANKS)))
        message = http.client.HTTPMessage()
        for name, value in found:
            message.set_raw(name, value)
        return message

    def _lines(self) -> list[str]:
        lines: list[str] = []
        while (line := self.fp.readline(_MAX_LINE_BYTES + 1)) not in _END:
            if len(line) > _MAX_LINE_BYTES:
                raise http.client.LineTooLong("header line")
            if len(lines) == _MAX_HEADERS:
                raise http.client.HTTPException(f"got more than {_MAX_HEADERS} headers")
            lines.append(line.decode("iso-8859-1"))
        return lines

"""Generated images: fetched from the URL that a vendor named or out of its reply, then looked at.

The URL comes from outside, so it is treated as hostile: allowed hosts only, https only, no token,
no redirect, no address inside our own network, a limit on size and on the whole time. The name is
resolved once and the connection goes to the very address that was checked, so that a second
answer of the DNS cannot lead elsewhere. Proxies are not used, for the same reason. Some models
answer with the image itself, as a data URI (RFC 2397).

A picture's type is decided by the content, never by a name or a header, and the picture is decoded
completely, since a cut-off file may look whole from its beginning.
"""

from __future__ import annotations

import binascii
import hashlib
import http.client
import io
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

# Named here, Pillow need not search all its forty plugins for them at the first picture, which
# costs 0.15 s in every process.
from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin
from requests.structures import CaseInsensitiveDict

from glisk.clients.http import retry_after_seconds, tls_context
from glisk.errors import ArtefactError, PermanentError, ProviderError, TransientError
from glisk.metrics import timed_vendor_call

VENDOR: Final = "output"
DATA_SCHEME: Final = "data:"

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PIECE: Final = 64 * 1024

# RFC 6052 and RFC 4291; outside of these lie site-local fec0::/10, ::10.0.0.1, 64:ff9b:1::/48, …
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
ImageFormat = Literal["webp", "png", "jpeg"]

_FORMATS: Final[dict[str, ImageFormat]] = {
    WebPImagePlugin.WebPImageFile.format: "webp",
    PngImagePlugin.PngImageFile.format: "png",
    JpegImagePlugin.JpegImageFile.format: "jpeg",
}

# A picture whose channels all stay within this of one value shows nothing. Compression noise of
# an empty picture stays below it.
_BLANK_SPREAD: Final = 4
_GLANCE_SIDE: Final = 64  # pixels

_PNG_END: Final = b"IEND\xaeB`\x82"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"


def download_output(
    url: str, *, allowed_hosts: Sequence[str], max_bytes: int, timeout: float
) -> bytes:
    """Return the bytes behind an output URL.

    `allowed_hosts` holds names (`replicate.delivery`), wildcards for subdomains
    (`*.replicate.delivery`) and, only where an emulator runs, a loopback name with or without a
    port (`127.0.0.1:8601`), for which plain http is allowed too. A name with its port
    (`images.internal:5000`) is a server of our own: by http too, and at a private address.
    `timeout` bounds the whole transfer in seconds.

    Raises PermanentError for a URL or an answer that is refused (codes "forbidden_url", or the
    HTTP status), ArtefactError if there are more than `max_bytes` bytes, and TransientError for
    everything that may pass (a 404 too: the file may still be on its way).
    """
    with timed_vendor_call(VENDOR):
        return _download(url, allowed_hosts, max_bytes, timeout)


def _download(url: str, allowed_hosts: Sequence[str], max_bytes: int, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise _forbidden("it is not a URL") from None
    is_allowed = _check_url(parts, port, [entry.strip().lower() for entry in allowed_hosts])
    code = "dns"
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        if not all(is_allowed(_address(sockaddr)) for *_, sockaddr in found):
            raise _forbidden("its host leads to an address that is not public")
        code = "connection"
        with _connect(parts, found, deadline) as plain:
            return _get(_TimedSocket(plain, deadline), parts, max_bytes)
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise TransientError(
            f"output: the download failed ({type(error).__name__}: {error}). It is tried again.",
            vendor=VENDOR,
            code="timeout" if isinstance(error, TimeoutError) else code,
        ) from None


def is_allowed_host(host: str, port: int, allowed_hosts: Sequence[str]) -> bool:
    """Tell whether the allow-list (in lower case) names this host."""
    if host in allowed_hosts or f"{host}:{port}" in allowed_hosts:
        return True
    wildcards = [entry[1:] for entry in allowed_hosts if entry.startswith("*.")]
    return any(host.endswith(domain) and host != domain for domain in wildcards)


def _check_url(
    parts: SplitResult, port: int, allowed_hosts: Sequence[str]
) -> Callable[[Address], bool]:
    """Raise PermanentError unless the URL may be fetched; return which addresses it may lead to."""
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None:
        raise _forbidden("it carries credentials")
    if not host or not is_allowed_host(host, port, allowed_hosts):
        raise _forbidden(
            f"host {host[:80]!r} is not in REPLICATE_OUTPUT_HOSTS, nor the self-hosted server"
        )
    is_loopback = host in _LOOPBACK_NAMES
    if is_loopback or f"{host}:{port}" in allowed_hosts:
        if parts.scheme not in ("http", "https"):
            raise _forbidden("its scheme is neither http nor https")
        return attrgetter("is_loopback") if is_loopback else is_ours_or_public
    if parts.scheme != "https" or port != 443:
        raise _forbidden("it is not https on port 443")
    return is_public


def _forbidden(why: str) -> PermanentError:
    text = f"output: the URL is refused: {why}."
    return PermanentError(text, vendor=VENDOR, code="forbidden_url")


def _address(sockaddr: tuple[Any, ...]) -> Address:
    return ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])


def is_public(address: Address) -> bool:
    """Tell whether an address lies in the public internet.

    IPv6 forms that carry an IPv4 address (mapped, 6to4, NAT64) are judged by that address too; all
    others must be global unicast, since old forms of private ones pass for global in `ipaddress`.
    """
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address in _GLOBAL_UNICAST if carried is None else carried.is_global
    return True


def is_ours_or_public(address: Address) -> bool:
    """Tell also a private address, but not loopback, link-local (cloud metadata!) and the like."""
    return is_public(address) or (
        address.is_private
        and not (
            address.is_loopback
            or address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or address.is_reserved
        )
    )


def _connect(parts: SplitResult, found: Sequence[Any], deadline: float) -> socket.socket:
    failure: OSError = OSError("no address")
    for family, *_, sockaddr in found:
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.settimeout(_left(deadline))
            plain.connect(sockaddr)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if parts.scheme == "https":
                plain.settimeout(_left(deadline))
                plain = tls_context().wrap_socket(plain, server_hostname=parts.hostname)
        except OSError as error:
            plain.close()
            failure = error
            continue
        return plain
    raise failure


class _TimedSocket(io.RawIOBase):
    """The little of a socket that http.client uses, every read bounded by one deadline.

    A socket's own timeout starts anew with every byte; a server that sends one now and then would
    hold the thread for ever.
    """

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self._plain = plain
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._plain.settimeout(_left(self._deadline))
        self._plain.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, _PIECE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._plain.settimeout(_left(self._deadline))
        return self._plain.recv_into(buffer)

    def close(self) -> None:
        """Leave the socket open: http.client closes before it reads a body without a length."""


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for the whole download is over")
    return left


def _get(timed: _TimedSocket, parts: SplitResult, max_bytes: int) -> bytes:
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.sock = timed
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Accept-Encoding": "identity", "User-Agent": "glisk-backend"}
    try:
        connection.request("GET", target, headers=headers)
    except (http.client.InvalidURL, UnicodeEncodeError):
        raise _forbidden("its path holds characters that no URL may hold") from None
    response = connection.getresponse()
    if response.status != 200:
        raise _error_for_status(response)
    if (response.length or 0) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    while piece := response.read1(_PIECE):
        body += piece
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(body)


def _too_large(max_bytes: int, vendor: str = VENDOR) -> ArtefactError:
    text = f"{vendor}: the image is larger than the limit of {max_bytes} bytes."
    return ArtefactError(text, vendor=vendor, code="too_large")


def _error_for_status(response: http.client.HTTPResponse) -> ProviderError:
    status = response.status
    may_pass = status >= 500 or status in (404, 408, 425, 429)
    return (TransientError if may_pass else PermanentError)(
        f"output: the image's URL answered HTTP {status}.",
        vendor=VENDOR,
        status=status,
        code=str(status),
        retry_after_seconds=retry_after_seconds(CaseInsensitiveDict(response.headers.items())),
        rate_limited=status == 429,
    )


def read_data_uri(uri: str, *, max_bytes: int, vendor: str) -> bytes:
    """Return the bytes of a data URI in base64; its media type is not believed.

    Raises ArtefactError if it is damaged or holds more than `max_bytes` bytes.
    """
    head, _, body = uri.partition(",")
    if len(body) * 3 // 4 > max_bytes + 2:  # the padding
        raise _too_large(max_bytes, vendor)
    try:
        if not re.fullmatch(r"data:.*; *base64 *", head, re.IGNORECASE):
            raise ValueError("it is not in base64")
        data = binascii.a2b_base64(body.encode("ascii"), strict_mode=True)
    except ValueError as error:
        text = f"{vendor}: the image's data URI is damaged: {error}."
        raise ArtefactError(text, vendor=vendor) from None
    if len(data) > max_bytes:
        raise _too_large(max_bytes, vendor)
    return data


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a picture's bytes are.

    `is_blank` marks one plain colour or full transparency, which is how some models answer to a
    refused prompt.
    """

    format: ImageFormat
    mime: str
    width: int
    height: int
    sha256: str
    size_bytes: int
    is_blank: bool


def inspect_image(
    data: bytes,
    *,
    max_bytes: int = 20 * 1024 * 1024,
    max_pixels: int = 16 * 1024 * 1024,
    min_side: int = 64,
) -> ImageFacts:
    """Decode a WebP, PNG or JPEG picture completely and return its facts.

    Raises ArtefactError, with one of these codes, for anything that must not become a token's
    image: "empty", "too_large" (bytes), "not_an_image", "too_many_pixels" (before they are
    decoded), "too_small" (a side, in pixels), "truncated".
    """
    if not data:
        raise _unusable("empty", "there are no bytes")
    if len(data) > max_bytes:
        raise _unusable("too_large", f"{len(data)} bytes are more than the limit of {max_bytes}")
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_FORMATS)) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _unusable("too_many_pixels", f"{width} x {height}: over {max_pixels} pixels")
            if min(width, height) < min_side:
                raise _unusable("too_small", f"{width} x {height}: a side under {min_side} pixels")
            name = _FORMATS[image.format or ""]
            if not _has_end(data, name):
                raise _unusable("truncated", "the end of the file is missing")
            image.load()
            # A few of its pixels tell nearly always, and cost 0.1 ms of CPU instead of 3.
            glance = image.resize((_GLANCE_SIDE, _GLANCE_SIDE), Image.Resampling.NEAREST)
            is_blank = _is_blank(glance) and _is_blank(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _unusable("too_many_pixels", "it claims far too many pixels") from None
    except UnidentifiedImageError:
        raise _unusable("not_an_image", f"they begin with {data[:16]!r}") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, MemoryError) as error:
        # Pillow reports damage by any of these, depending on the format and the place.
        raise _unusable("truncated", f"decoding failed: {type(error).__name__}: {error}") from None
    return ImageFacts(
        format=name,
        mime=f"image/{name}",
        width=width,
        height=height,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        is_blank=is_blank,
    )


def _unusable(code: str, why: str) -> ArtefactError:
    text = f"image: the bytes are not usable as an image: {why}."
    return ArtefactError(text, vendor="image", code=code)


def _has_end(data: bytes, name: ImageFormat) -> bool:
    """Look for the end of the file: without it decoders are content when the pixels suffice."""
    if name == "png":
        return _PNG_END in data[-1024:]
    if name == "jpeg":
        # Inside a scan every 0xFF byte is escaped, so the last end marker after the last scan
        # marker can only be the picture's own (a thumbnail's stands before).
        return data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN) > 0
    return len(data) >= 8 + int.from_bytes(data[4:8], "little")


def _is_blank(image: Image.Image) -> bool:
    if image.mode == "P" or image.has_transparency_data:
        image = image.convert("RGBA")
    extrema: Any = image.getextrema()
    ranges = extrema if isinstance(extrema[0], tuple) else [extrema]
    channels = dict(zip(image.getbands(), ranges, strict=True))
    _, opacity = channels.pop("A", (0, 1))
    return opacity == 0 or all(high - low <= _BLANK_SPREAD for low, high in channels.values())

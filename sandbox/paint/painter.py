"""Choose style and palette by the prompt, paint, and write the file, or garbage on request."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import struct
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from sandbox.paint import landscapes, patterns
from sandbox.paint.canvas import Canvas, choose_palette

SIDE = 1024  # pixels
SMALLEST_SIDE = 64  # below, the styles have no pixels to work with

# A style, and the words of a prompt that call for it.
STYLES: dict[Callable[[Canvas], Image.Image], str] = {
    landscapes.ridges: "landscape mountain alps peak hill valley mist horizon castle dune desert",
    landscapes.starry_night: "night star starry moon aurora forest fir camp wolf owl winter",
    landscapes.sunburst: "sun sunset sunrise deco retro temple beach summer sea ocean ship king",
    landscapes.city: "city skyline urban street tokyo cyberpunk neon building tower robot car",
    landscapes.nebula: "nebula space galaxy cosmos cosmic planet universe astronaut dream saturn",
    patterns.paper_cut: "paper map cave canyon organic lava silk flower blossom garden abstract",
    patterns.facets: "crystal polygon diamond origami glass gem ice fox cat lion tiger geometric",
}


def paint_picture(prompt: str, seed: int, side: int = SIDE) -> Image.Image:
    """Paint a prompt in a style that fits; equal arguments, equal picture."""
    rng = random.Random(f"{prompt}\0{seed}")
    words = frozenset(_words(prompt))
    called = [style for style, calls in STYLES.items() if not words.isdisjoint(calls.split())]
    style = rng.choice(called or list(STYLES))
    palette = choose_palette(words, rng)
    picture = style(Canvas(max(side, SMALLEST_SIDE), palette, rng, words))
    return picture if side >= SMALLEST_SIDE else picture.resize((side, side))


def _words(prompt: str) -> list[str]:
    """List the words, each in the singular too."""
    words = re.findall(r"[a-z]+", prompt.lower())
    return [*words, *(word.removesuffix("s") for word in words)]


class Painter:
    """Paint files for prompts, at full size or quickly.

    `image_size` is the side in pixels; with `distinct_images` n, only n pictures are painted, and
    further files show one of them under a stamp of their own.
    """

    def __init__(self, image_size: int = SIDE, *, distinct_images: int = 0) -> None:
        self._side = image_size
        self._distinct_images = distinct_images
        self._painted: dict[int, bytes] = {}

    def paint_file(self, prompt: str, seed: int, file_format: str = "webp") -> bytes:
        """Paint a prompt and encode it as webp or png; equal arguments give equal bytes."""
        if not self._distinct_images:
            return _encode(paint_picture(prompt, seed, self._side), file_format)
        number = random.Random(f"{prompt}\0{seed}").randrange(self._distinct_images)
        if number not in self._painted:
            # Not by the prompt that comes first: equal arguments must give equal bytes always.
            picture = paint_picture(f"picture {number}", number, self._side)
            self._painted[number] = _encode(picture, "webp")
        return _stamp(self._painted[number], self._side, f"{seed} {prompt}".encode()[:1000])


def black_file(file_format: str) -> bytes:
    """Make the file that a safety checker puts in place of an unsafe image."""
    return _encode(Image.new("RGB", (SIDE, SIDE)), file_format)


def _encode(picture: Image.Image, file_format: str) -> bytes:
    target = io.BytesIO()
    if file_format == "png":
        picture.save(target, "PNG", compress_level=2)
    else:
        picture.save(target, "WEBP", quality=80, method=1)  # 4, the usual effort, costs three times
    return target.getvalue()


def _stamp(webp: bytes, side: int, note: bytes) -> bytes:
    """Add a note that no viewer shows, so that the file's bytes are its own."""
    # A simple WebP file has a single chunk; notes need the extended format, whose header repeats
    # the size of the canvas (RFC 9649, section 2.7).
    size = (side - 1).to_bytes(3, "little")
    header = struct.pack("<I", 0b100) + size + size  # it has XMP
    chunks = _chunk(b"VP8X", header) + webp[12:] + _chunk(b"XMP ", note)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


KEPT_FILES = 512
PAINTER_NICENESS = 5
HTML_PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body></body></html>"


@dataclass(frozen=True)
class File:
    """Say what a file shows; equal ones have equal bytes."""

    prompt: str
    seed: int
    file_format: str = "webp"
    garbage: str = ""


class Pictures:
    """Paint in a background thread and keep the newest files.

    Files are not stored with a prediction: one that was dropped is painted again.
    """

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self._files: OrderedDict[File, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "painter", initializer=_be_nice)

    def paint(self, file: File) -> Future[bytes]:
        """Have a file made, or find the one that was made before."""
        with self._lock:
            future = self._files.get(file)
            if future is None:
                future = self._files[file] = self._pool.submit(self.content, file)
                while len(self._files) > KEPT_FILES:
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(file)
            return future

    def content(self, file: File) -> bytes:
        """Make a file here and now."""
        if file.garbage == "html":
            return HTML_PAGE
        if file.garbage == "empty":
            return b""
        if file.garbage == "black":
            return black_file(file.file_format)
        content = self._painter.paint_file(file.prompt, file.seed, file.file_format)
        return content[: len(content) * 2 // 3] if file.garbage == "truncated" else content

    def close(self) -> None:
        """Give up what is queued."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _be_nice() -> None:
    # Painting yields to what is being measured on the same cores.
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PAINTER_NICENESS)

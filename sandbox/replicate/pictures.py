"""Make the files of predictions: pictures ahead of time, garbage on request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from sandbox.paint import Painter
from sandbox.paint.files import black_file

CONTENT_TYPES = {"webp": "image/webp", "jpg": "image/jpeg", "png": "image/png"}
KEPT_FILES = 512
PAINTER_NICENESS = 5
HTML_PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body></body></html>"


@dataclass(frozen=True)
class FileOrder:
    """Say which picture a file shows; equal orders give equal bytes."""

    prompt: str
    seed: int
    width: int
    height: int
    file_format: str
    quality: int
    garbage: str = ""


class PictureRoom:
    """Paint in a background thread and keep the newest files.

    Files are not stored with a prediction: an order that was dropped is painted again.
    """

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self._files: OrderedDict[FileOrder, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "painter", initializer=_be_nice)

    def order(self, order: FileOrder) -> Future[bytes]:
        """Have a file made, or find the one that was made before."""
        with self._lock:
            future = self._files.get(order)
            if future is None:
                future = self._files[order] = self._pool.submit(self._make, order)
                while len(self._files) > KEPT_FILES:
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(order)
            return future

    async def fetch(self, order: FileOrder) -> bytes:
        """Return the bytes of a file, when it is ready."""
        return await asyncio.wrap_future(self.order(order))

    def _make(self, order: FileOrder) -> bytes:
        if order.garbage == "html":
            return HTML_PAGE
        if order.garbage == "empty":
            return b""
        if order.garbage == "black":
            return black_file(order.width, order.height, order.file_format)
        content = self._painter.paint_file(
            order.prompt,
            order.seed,
            width=order.width,
            height=order.height,
            file_format=order.file_format,
            quality=order.quality,
        )
        return content[: len(content) * 2 // 3] if order.garbage == "truncated" else content

    def close(self) -> None:
        """Give up what is queued."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _be_nice() -> None:
    # Painting yields to what is being measured on the same cores.
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PAINTER_NICENESS)

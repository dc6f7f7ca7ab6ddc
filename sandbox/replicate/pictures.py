"""Make the files of predictions: pictures ahead of time, garbage on request."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from sandbox.paint import Painter, black_file

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

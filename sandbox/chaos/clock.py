"""A clock of one machine's own, which can be set wrong while its processes run."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")


class Clock:
    """Who runs with `env` reads it; it is right until it is set.

    Raises FileNotFoundError where there is no C compiler.
    """

    def __init__(self, directory: Path) -> None:
        library, self._ahead = directory / "clock.so", directory / "clock"
        compiler = shutil.which("cc")
        if compiler is None:
            raise FileNotFoundError("cc")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
        self._ahead.write_bytes(struct.pack("l", 0))
        self.env = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(self._ahead)}

    def set(self, ahead_seconds: int) -> None:
        with self._ahead.open("r+b") as file:  # processes have this very file in their memory
            file.write(struct.pack("l", ahead_seconds))

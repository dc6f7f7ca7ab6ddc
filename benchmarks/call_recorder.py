"""Note the project's modules whose functions run; `benchmarks.code_path` puts it into processes.

It is copied to a `sitecustomize.py`, which Python imports at its start, and uses nothing but the
standard library. Import time does not count, nor what runs before the file `begin` is there.
"""

import inspect
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType

DIRECTORY, ROOT = "CALL_RECORDER_DIR", "CALL_RECORDER_ROOT"
_LOOK_SECONDS = 0.02


class Recorder:
    """A profile function of all threads of a process and of its forked children."""

    def __init__(self, directory: Path, root: str) -> None:
        self._directory, self._root = directory, root
        self._seen: set[str] = set()
        self._threads: set[tuple[int, int]] = set()
        self._begun, self._look_at = False, 0.0

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or not self._has_begun():
            return
        self._note(frame)
        thread = (os.getpid(), threading.get_ident())
        if thread not in self._threads:  # what was called before and is still running
            self._threads.add(thread)
            caller = frame.f_back
            while caller is not None:
                self._note(caller)
                caller = caller.f_back

    def _has_begun(self) -> bool:
        if not self._begun and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._begun = (self._directory / "begin").exists()
        return self._begun

    def _note(self, frame: FrameType) -> None:
        code = frame.f_code
        file = code.co_filename
        if file in self._seen or not file.startswith(self._root):
            return
        if code.co_flags & inspect.CO_OPTIMIZED:  # not the body of a module or of a class
            self._seen.add(file)
            with (self._directory / f"{os.getpid()}.txt").open("a") as found:
                found.write(file + "\n")


if DIRECTORY in os.environ:
    recorder = Recorder(Path(os.environ[DIRECTORY]), os.environ[ROOT])
    threading.setprofile(recorder)
    sys.setprofile(recorder)

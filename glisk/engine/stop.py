"""The stop flag of a process tree: a pipe with a byte in it.

Whoever waits for something else can wait for this descriptor too, so that a stop is noticed at
once without polling. There is no lock, so no process that is killed can leave it locked; and
setting it is safe in a signal handler, however often.
"""

import contextlib
import os
import select


class StopFlag:
    """Set once for all processes that inherit it by fork; the byte is never read."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        return self._read

    def set(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full of stops already
            os.write(self._write, b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def is_set(self) -> bool:
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the flag; return whether it is set."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0, timeout * 1000)))

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


_flag: StopFlag | None = None


def process_stop_flag() -> StopFlag:
    """Return the flag of this process tree; the supervisor makes it before the first fork."""
    global _flag
    if _flag is None:
        _flag = StopFlag()
    return _flag

"""One generation of django-q2's processes, as the supervisor sees it."""

import contextlib
import os
import select
from multiprocessing.process import BaseProcess

from django.db import connections
from django_q.cluster import get_mp_context

from glisk.engine.processes import run_child
from glisk.engine.sentinel import run_sentinel
from glisk.engine.stop import StopFlag


class Tree:
    """A sentinel and its children, all forked from here; they die with it, and it with us."""

    def __init__(self, stop: StopFlag) -> None:
        connections.close_all()  # a connection must not be shared by a fork
        # Every process of the tree holds the write end: end of file says that all are gone.
        self._life, alive = os.pipe()
        self.process: BaseProcess = get_mp_context().Process(
            target=run_child, args=(os.getpid(), run_sentinel, stop), name="sentinel"
        )
        self.process.start()
        os.close(alive)

    def fileno(self) -> int:
        """Readable when the sentinel has ended."""
        return self.process.sentinel

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait for the sentinel's end, at most `seconds`; return whether it ended."""
        self.process.join(seconds)
        return not self.process.is_alive()

    def end(self, seconds: float = 10.0) -> bool:
        """Kill what is left and wait until no process of the tree lives; False if one does."""
        self.process.kill()
        self.process.join(seconds)
        poll = select.poll()
        poll.register(self._life, select.POLLHUP)
        gone = bool(poll.poll(seconds * 1000))
        os.close(self._life)
        with contextlib.suppress(ValueError):
            self.process.close()
        return gone

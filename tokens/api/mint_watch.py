"""Follow mints for many listeners at once: one look per tick, however many they are.

A web process has one `MintWatch`. Its thread runs only while somebody listens, asks for all
followed mints together, and holds no database connection between two looks.
"""

import threading
from collections.abc import Iterator
from typing import Any, Final

import structlog
from django.db import DatabaseError, InterfaceError, connection

from tokens.api.mints import mint_documents

TICK_SECONDS: Final = 0.5
logger = structlog.get_logger(__name__)


class TooManyListeners(Exception):
    """All places of this process are taken."""


class Listener:
    """One open stream: the newest document of its mint, each at most once."""

    def __init__(self, watch: "MintWatch", tx_hash: str) -> None:
        self.tx_hash = tx_hash
        self._watch = watch
        self._changed = threading.Event()
        self._document: dict[str, Any] | None = None

    def offer(self, document: dict[str, Any]) -> None:
        """Take a document; one that differs by nothing but its estimates is not news."""
        if self._document is None or _news(document) != _news(self._document):
            self._document = document
            self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    def wait(self, seconds: float) -> dict[str, Any] | None:
        """Return the next document, or None if there is none within that time."""
        if not self._changed.wait(seconds):
            return None
        self._changed.clear()
        return self._document

    def close(self) -> None:
        self._watch.leave(self)


class MintWatch:
    """The listeners of this process; at most `places` at a time."""

    def __init__(self, *, places: int, tick_seconds: float = TICK_SECONDS) -> None:
        self._places, self._tick = places, tick_seconds
        self._listeners: set[Listener] = set()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._joined = threading.Event()  # somebody new: look at once
        self.closing = False

    def join(self, tx_hash: str) -> Listener:
        """Begin to follow a mint, known or not yet known. Raises `TooManyListeners`."""
        with self._guard:
            if len(self._listeners) >= self._places:
                raise TooManyListeners
            listener = Listener(self, tx_hash)
            self._listeners.add(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mint-watch", daemon=True)
                self._thread.start()
        self._joined.set()
        return listener

    def leave(self, listener: Listener) -> None:
        with self._guard:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Have every stream end soon: the process is about to stop."""
        self.closing = True
        for listener in self._current():
            listener.wake()

    def _run(self) -> None:
        while self._go_on():
            self._joined.clear()
            self._look()
            self._joined.wait(self._tick)

    def _go_on(self) -> bool:
        """Say whether somebody listens; else this thread ends, and the next one starts another."""
        with self._guard:
            if self._listeners and not self.closing:
                return True
            self._thread = None
            return False

    def _look(self) -> None:
        listeners = self._current()
        try:
            documents = mint_documents({listener.tx_hash for listener in listeners})
        except (DatabaseError, InterfaceError) as error:
            # The streams stay open; the next look may succeed.
            logger.warning("mint_watch_failed", error=type(error).__name__)
            return
        except Exception:  # nothing may end the thread that every stream of the process waits for
            logger.exception("mint_watch_failed")
            return
        finally:
            connection.close()  # back to the pool
        for listener in listeners:
            if document := documents.get(listener.tx_hash):
                listener.offer(document)

    def _current(self) -> list[Listener]:
        with self._guard:
            return list(self._listeners)


def _news(document: dict[str, Any]) -> Iterator[Any] | list[Any]:
    return [
        (token["token_id"], token["status"], token["position"], token["reveal_tx_hash"])
        for token in document["tokens"]
    ]

"""A mint, live: one look per tick for all who listen, and server-sent events for each of them.

A web process has one `MintWatch`. Its thread runs only while somebody listens, asks for all
followed mints together, and holds no database connection between two looks.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpResponse, StreamingHttpResponse

from tokens.api.mints import mint_documents

logger = structlog.get_logger(__name__)

TICK_SECONDS: Final = 0.5
CONTENT_TYPE: Final = "text/event-stream"
# A proxy hangs up on a silent connection after 60 s or so.
HEARTBEAT_SECONDS: Final = 15.0
RETRY_MILLISECONDS: Final = 3000
# A stream that was forgotten ends; whoever still wants it connects again by itself.
LONGEST_STREAM_SECONDS: Final = 600.0


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


watch = MintWatch(places=settings.WEB_STREAMS)


def stream_mint(tx_hash: str) -> StreamingHttpResponse:
    """Return the stream of a mint. Raises `TooManyListeners`."""
    response = StreamingHttpResponse(
        _Events(watch.join(tx_hash)), content_type=f"{CONTENT_TYPE}; charset=utf-8"
    )
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return response


def nothing_more() -> HttpResponse:
    """Return the answer that ends an EventSource for good."""
    return HttpResponse(status=204)


class _Events:
    """The events of one stream; the server closes it when the client has gone."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._events = self._produce()

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        self._listener.close()

    def _produce(self) -> Iterator[bytes]:
        end = time.monotonic() + LONGEST_STREAM_SECONDS
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        while not watch.closing and time.monotonic() < end:
            document = self._listener.wait(HEARTBEAT_SECONDS)
            if document is None:
                yield b": still here\n\n"
                continue
            yield event("mint", document)
            if document["done"]:
                yield event("done", {"tx_hash": document["tx_hash"]})
                return


def event(name: str, data: dict[str, Any]) -> bytes:
    """Return one event with JSON data, which never holds a line break."""
    # With an id, a browser that connects again says so: see MintEventsView.
    text = json.dumps(data, cls=DjangoJSONEncoder, separators=(",", ":"))
    return f"id: 1\nevent: {name}\ndata: {text}\n\n".encode()

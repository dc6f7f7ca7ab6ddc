"""A mint, live: one look per tick for all who listen, and server-sent events for each of them.

Each stream has a thread of the web server. Whichever of them finds the last look too old looks
again, at all followed mints together, and holds no database connection between two looks.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InterfaceError, connection
from django.http import StreamingHttpResponse

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


class MintWatch:
    """The mints that this process's streams follow; at most `places` streams at a time."""

    def __init__(self, *, places: int, tick_seconds: float = TICK_SECONDS) -> None:
        self.tick_seconds = tick_seconds
        self.closing = threading.Event()
        self._places = places
        self._followed: Counter[str] = Counter()
        self._documents: dict[str, dict[str, Any]] = {}
        self._look_again_at = 0.0
        self._guard, self._looking = threading.Lock(), threading.Lock()

    def join(self, tx_hash: str) -> None:
        """Begin to follow a mint, known or not yet known. Raises `TooManyListeners`."""
        with self._guard:
            if self._followed.total() >= self._places:
                raise TooManyListeners
            self._followed[tx_hash] += 1
            self._look_again_at = 0.0

    def leave(self, tx_hash: str) -> None:
        with self._guard:
            self._followed -= Counter([tx_hash])

    def look(self, tx_hash: str) -> dict[str, Any] | None:
        """Return a followed mint as it was at most a tick ago; None while it is not detected."""
        with self._looking:
            if time.monotonic() >= self._look_again_at:
                with self._guard:
                    followed = set(self._followed)
                    self._look_again_at = time.monotonic() + self.tick_seconds
                self._look_at(followed)
            return self._documents.get(tx_hash)

    def _look_at(self, followed: set[str]) -> None:
        try:
            self._documents = mint_documents(followed)
        except (DatabaseError, InterfaceError) as error:
            # The streams stay open; the next look may succeed.
            logger.warning("mint_watch_failed", error=type(error).__name__)
        except Exception:  # nothing may end the streams, which would all come again at once
            logger.exception("mint_watch_failed")
        finally:
            connection.close()  # back to the pool


watch = MintWatch(places=settings.WEB_STREAMS)


def stream_mint(tx_hash: str) -> StreamingHttpResponse:
    """Return the stream of a mint. Raises `TooManyListeners`."""
    response = StreamingHttpResponse(
        EventStream(watch, tx_hash), content_type=f"{CONTENT_TYPE}; charset=utf-8"
    )
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return response


class EventStream:
    """The events of one stream; the server closes it when the client has gone.

    Raises `TooManyListeners`.
    """

    def __init__(self, watch: MintWatch, tx_hash: str) -> None:
        watch.join(tx_hash)
        self._watch, self._tx_hash = watch, tx_hash

    def close(self) -> None:
        self._watch.leave(self._tx_hash)

    def __iter__(self) -> Iterator[bytes]:
        watch, tx_hash = self._watch, self._tx_hash
        spoke_at = time.monotonic()
        end = spoke_at + LONGEST_STREAM_SECONDS
        told: list[Any] | None = None
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        while not watch.closing.is_set() and time.monotonic() < end:
            document = watch.look(tx_hash)
            if document and (news := _news(document)) != told:
                told, spoke_at = news, time.monotonic()
                yield event("mint", document)
                if document["done"]:
                    yield event("done", {"tx_hash": tx_hash})
                    return
            elif time.monotonic() - spoke_at >= HEARTBEAT_SECONDS:
                spoke_at = time.monotonic()
                yield b": still here\n\n"
            watch.closing.wait(watch.tick_seconds)


def _news(document: dict[str, Any]) -> list[Any]:
    """Return what is worth telling: a document that differs by its estimates alone is not."""
    return [
        (token["token_id"], token["status"], token["position"], token["reveal_tx_hash"])
        for token in document["tokens"]
    ]


def event(name: str, data: dict[str, Any]) -> bytes:
    """Return one event with JSON data, which never holds a line break."""
    # With an id, a browser that connects again says so: see MintEventsView.
    text = json.dumps(data, cls=DjangoJSONEncoder, separators=(",", ":"))
    return f"id: 1\nevent: {name}\ndata: {text}\n\n".encode()

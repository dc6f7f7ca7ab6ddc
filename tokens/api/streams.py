"""A mint, live: one look per tick for all who listen, and server-sent events for each of them.

Each stream has a thread of the web server. Whichever of them finds the last look too old looks
again, at all followed mints together, and holds no database connection between two looks.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InterfaceError, connection
from django.http import StreamingHttpResponse

from glisk.api.exceptions import TryLater
from glisk.api.short_memory import ShortMemory
from tokens.api.mints import mint_documents

logger = structlog.get_logger(__name__)

TICK_SECONDS: Final = 0.5
CONTENT_TYPE: Final = "text/event-stream"
# A proxy hangs up on a silent connection after 60 s or so.
HEARTBEAT_SECONDS: Final = 15.0
RETRY_MILLISECONDS: Final = 3000
# A stream that was forgotten ends; whoever still wants it connects again by itself.
LONGEST_STREAM_SECONDS: Final = 600.0

closing = threading.Event()  # the process ends: so does every stream
_places = threading.BoundedSemaphore(settings.WEB_STREAMS)
_followed: list[str] = []  # by the streams of this process
_looks: ShortMemory[dict[str, dict[str, Any]]] = ShortMemory(seconds=TICK_SECONDS)


def stream_mint(tx_hash: str) -> StreamingHttpResponse:
    """Return the stream of a mint, known or not yet known; raise `TryLater` without a place."""
    response = StreamingHttpResponse(
        EventStream(tx_hash), content_type=f"{CONTENT_TYPE}; charset=utf-8"
    )
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return response


class EventStream:
    """The events of one stream; the server closes it when the client has gone."""

    def __init__(self, tx_hash: str) -> None:
        if not _places.acquire(blocking=False):
            busy = "Too many live streams are open; ask for the mint itself instead."
            raise TryLater(busy, wait=5)
        self.tx_hash = tx_hash
        _followed.append(tx_hash)

    def close(self) -> None:
        _followed.remove(self.tx_hash)
        _places.release()

    def __iter__(self) -> Iterator[bytes]:
        spoke_at = time.monotonic()
        end = spoke_at + LONGEST_STREAM_SECONDS
        told: list[Any] | None = None
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        while not closing.is_set() and time.monotonic() < end:
            mints = frozenset(_followed)
            document = _looks.get(mints, partial(_look, mints)).get(self.tx_hash)
            if document and (news := _news(document)) != told:
                told, spoke_at = news, time.monotonic()
                yield event("mint", document)
                if document["done"]:
                    yield event("done", {"tx_hash": self.tx_hash})
                    return
            elif time.monotonic() - spoke_at >= HEARTBEAT_SECONDS:
                spoke_at = time.monotonic()
                yield b": still here\n\n"
            closing.wait(TICK_SECONDS)


def _look(mints: frozenset[str]) -> dict[str, dict[str, Any]]:
    try:
        return mint_documents(mints)
    except (DatabaseError, InterfaceError) as error:
        # The streams stay open; the next look may succeed.
        logger.warning("mint_watch_failed", error=type(error).__name__)
    except Exception:  # nothing may end the streams, which would all come again at once
        logger.exception("mint_watch_failed")
    finally:
        connection.close()  # back to the pool
    return {}


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

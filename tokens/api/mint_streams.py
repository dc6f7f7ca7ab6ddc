"""Server-sent events: a mint's tokens, live, until all are revealed.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse

from tokens.api.mint_watch import Listener, MintWatch

CONTENT_TYPE: Final = "text/event-stream"
# A proxy hangs up on a silent connection after 60 s or so.
HEARTBEAT_SECONDS: Final = 15.0
RETRY_MILLISECONDS: Final = 3000
# A stream that was forgotten ends; whoever still wants it connects again by itself.
LONGEST_STREAM_SECONDS: Final = 600.0

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
    return f"id: 1\nevent: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()

"""Page through predictions, newest first."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import dropwhile, islice, takewhile
from typing import Any
from urllib.parse import urlencode

from sandbox.http import Request, Response, json_response
from sandbox.replicate.outcomes import ReplicateFaults
from sandbox.replicate.predictions import Prediction

PAGE_SIZE = 100


def list_predictions(
    request: Request,
    newest_first: Iterable[Prediction],
    base_url: str,
    show: Callable[[Prediction], dict[str, Any]],
    faults: ReplicateFaults,
) -> Response:
    """Answer GET /v1/predictions with its filters and cursors; the past may have no beginning."""
    if faults.list_refusal:
        status = faults.list_refusal
        return json_response({"detail": "Listing is refused.", "status": status}, status)
    query = request.query
    try:
        after, before = _moment(query.get("created_after")), _moment(query.get("created_before"))
        offset, begun_at = _cursor(query.get("cursor", ""))
    except ValueError as error:
        return json_response({"title": "Invalid query", "detail": f"{error}", "status": 422}, 422)
    if faults.list_ignores_bounds:
        after = before = None
    # What came since the first page would move all others.
    found: Iterator[Prediction] = dropwhile(
        lambda prediction: prediction.created_at > begun_at, iter(newest_first)
    )
    if before is not None:
        shown_before = before - faults.clock_ahead_seconds
        found = dropwhile(lambda prediction: prediction.created_at >= shown_before, found)
    if after is not None:
        shown_after = after - faults.clock_ahead_seconds
        found = takewhile(lambda prediction: prediction.created_at >= shown_after, found)
    page = list(islice(found, offset, offset + PAGE_SIZE + 1))
    omitted = faults.list_omits.split(",")
    rest = {name: text for name, text in query.items() if name != "cursor"}

    def link(to: int) -> str:
        cursor = base64.urlsafe_b64encode(f"{to} {begun_at!r}".encode()).decode()
        return f"{base_url}/v1/predictions?{urlencode({**rest, 'cursor': cursor})}"

    def item(prediction: Prediction) -> dict[str, Any]:
        return {name: part for name, part in show(prediction).items() if name not in omitted}

    return json_response(
        {
            "previous": link(max(0, offset - PAGE_SIZE)) if offset else None,
            "next": link(offset + PAGE_SIZE) if len(page) > PAGE_SIZE else None,
            "results": [item(prediction) for prediction in page[:PAGE_SIZE]],
        }
    )


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _cursor(text: str) -> tuple[int, float]:
    """Return how many to skip, and when the first page was asked for."""
    if not text:
        return 0, time.time()
    offset, begun_at = base64.urlsafe_b64decode(text).decode().split()
    return int(offset), float(begun_at)

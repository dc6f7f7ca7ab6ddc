"""Page through predictions, newest first."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from sandbox.http import Request, Response, json_response
from sandbox.replicate.predictions import Prediction

PAGE_SIZE = 100


def list_predictions(
    request: Request,
    newest_first: Iterable[Prediction],
    base_url: str,
    show: Callable[[Prediction], dict[str, Any]],
    omitted: Collection[str],
) -> Response:
    """Answer GET /v1/predictions with its filters and cursors; items lack the `omitted` fields."""
    query = request.query
    try:
        after, before = _moment(query.get("created_after")), _moment(query.get("created_before"))
        offset = _offset(query.get("cursor", ""))
    except ValueError as error:
        return json_response({"title": "Invalid query", "detail": f"{error}", "status": 422}, 422)
    matching = [
        prediction
        for prediction in newest_first
        if (after is None or prediction.created_at >= after)
        and (before is None or prediction.created_at < before)
    ]
    page = matching[offset : offset + PAGE_SIZE]
    rest = {name: text for name, text in query.items() if name != "cursor"}

    def link(to: int) -> str:
        cursor = base64.urlsafe_b64encode(f"o={to}".encode()).decode()
        return f"{base_url}/v1/predictions?{urlencode({**rest, 'cursor': cursor})}"

    def item(prediction: Prediction) -> dict[str, Any]:
        return {name: part for name, part in show(prediction).items() if name not in omitted}

    return json_response(
        {
            "previous": link(max(0, offset - PAGE_SIZE)) if offset else None,
            "next": link(offset + PAGE_SIZE) if len(matching) > offset + PAGE_SIZE else None,
            "results": [item(prediction) for prediction in page],
        }
    )


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _offset(cursor: str) -> int:
    if not cursor:
        return 0
    return int(base64.urlsafe_b64decode(cursor).decode().removeprefix("o="))

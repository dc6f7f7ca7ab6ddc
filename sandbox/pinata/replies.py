"""Build Pinata's replies; error reasons are those seen in live replies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox.http import Response, json_response
from sandbox.pinata.store import Pin

USER_ID = "00000000-0000-4000-8000-000000000001"
NO_SCOPES = "This key does not have the required scopes associated with it"


def error(
    status: int, reason: str, details: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Build an error reply."""
    return json_response({"error": {"reason": reason, "details": details}}, status, headers)


def pinned(pin: Pin, *, duplicate: bool) -> Response:
    """Build the reply to a pinned file."""
    payload: dict[str, Any] = {
        "IpfsHash": pin.cid,
        "PinSize": pin.dag_size,
        "Timestamp": iso(pin.pinned_at),
    }
    if duplicate:
        payload["isDuplicate"] = True
    return json_response(payload)


def row(pin: Pin) -> dict[str, Any]:
    """Describe a pin in a list."""
    return {
        "id": pin.id,
        "ipfs_pin_hash": pin.cid,
        "size": pin.dag_size,
        "user_id": USER_ID,
        "date_pinned": iso(pin.pinned_at),
        "date_unpinned": iso(pin.unpinned_at),
        "metadata": {"name": pin.name, "keyvalues": pin.keyvalues or None},
        "regions": [
            {"regionId": "FRA1", "currentReplicationCount": 1, "desiredReplicationCount": 1}
        ],
    }


def iso(moment: float | None) -> str | None:
    """Write a Unix time in UTC with milliseconds and "Z"."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

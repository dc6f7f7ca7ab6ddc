"""Answer the control endpoints under `/_sandbox/`: no vendor has them, no fault strikes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sandbox.http.faults import PlannedFault
from sandbox.http.messages import Request, Response, json_response

if TYPE_CHECKING:
    from sandbox.http.emulator import Emulator

CONTROL_PREFIX = "/_sandbox/"


def answer_control(emulator: Emulator, request: Request) -> Response:
    """Answer GET health, calls, bill, faults and POST faults, reset."""
    action = request.path.removeprefix(CONTROL_PREFIX).strip("/")
    try:
        return _answer(emulator, request, action)
    except (ValueError, TypeError, KeyError) as error:
        return json_response({"detail": str(error)}, 400)


def _answer(emulator: Emulator, request: Request, action: str) -> Response:
    match (request.method, action):
        case ("GET", "health"):
            return json_response({"status": "healthy", "name": emulator.name, "url": emulator.url})
        case ("GET", "calls"):
            calls = emulator.call_log.since(int(request.query.get("since", "0")))
            return json_response({"count": len(calls), "calls": [asdict(call) for call in calls]})
        case ("GET", "bill"):
            return json_response(emulator.bill.as_json())
        case ("GET", "faults"):
            return json_response(_faults(emulator))
        case ("POST", "faults"):
            changes = request.json()
            planned = [PlannedFault(**item) for item in changes.pop("planned", [])]
            emulator.set_faults(**changes)
            emulator.plan.planned.extend(planned)
            return json_response(_faults(emulator))
        case ("POST", "reset"):
            options = request.json() or {}
            emulator.forget(state=bool(options.get("state", False)))
            return json_response({"status": "reset"})
    response = emulator.control(request, action)
    return response or json_response({"detail": f"no control action {action!r}"}, 404)


def _faults(emulator: Emulator) -> dict[str, Any]:
    return {
        **asdict(emulator.faults),
        "planned": [asdict(planned) for planned in emulator.plan.planned],
    }

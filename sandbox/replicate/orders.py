"""Read what a request to create a prediction asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sandbox.http import Request, Response, json_response
from sandbox.replicate.models import InvalidField, Model, find_model, find_official, invalid_fields

WEBHOOK_EVENTS = ("start", "output", "logs", "completed")
LONGEST_WAIT_SECONDS = 60.0
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
SHORTEST_CANCEL_AFTER, LONGEST_CANCEL_AFTER = 5, 24 * 3600


class Refused(Exception):
    """Carry the reply that refuses a request."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"refused with HTTP {response.status}")
        self.response = response


@dataclass(frozen=True)
class Order:
    """Hold a request to create a prediction that passed all checks."""

    model: Model
    input: dict[str, Any]
    webhook: str = ""
    webhook_events: list[str] = field(default_factory=list)
    wait_seconds: float = 0.0
    cancel_after_seconds: float | None = None


def read_order(request: Request, model_name: str | None) -> Order:
    """Check a request to create a prediction; raises Refused with the vendor's reply."""
    try:
        body = request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(json_response({"detail": "Request body must be a JSON object"}, 400))
    if model_name is not None:
        model = find_official(model_name)
        if model is None:
            raise Refused(not_found())
    else:
        model = find_model(str(body.get("version") or ""))
        if model is None:
            raise Refused(invalid_version())
    if "input" not in body:
        raise Refused(invalid_input([InvalidField("required", "(root)", "input is required")]))
    errors = invalid_fields(model, body["input"]) + _invalid_webhook(body)
    if errors:
        raise Refused(invalid_input(errors))
    return Order(
        model,
        body["input"],
        body.get("webhook") or "",
        body.get("webhook_events_filter") or list(WEBHOOK_EVENTS),
        _wait_seconds(request.headers.get("prefer", "")),
        _cancel_after(request.headers.get("cancel-after")),
    )


def _invalid_webhook(body: dict[str, Any]) -> list[InvalidField]:
    errors = []
    webhook = body.get("webhook")
    if webhook and urlsplit(str(webhook)).scheme not in ("http", "https"):
        errors.append(InvalidField("format", "webhook", "Does not match format 'uri'"))
    events = body.get("webhook_events_filter") or []
    if not isinstance(events, list) or any(event not in WEBHOOK_EVENTS for event in events):
        allowed = ", ".join(f'"{event}"' for event in WEBHOOK_EVENTS)
        text = f"webhook_events_filter must be one of the following: {allowed}"
        errors.append(InvalidField("enum", "webhook_events_filter", text))
    return errors


def _wait_seconds(prefer: str) -> float:
    match = re.search(r"\bwait(?:\s*=\s*(\d+(?:\.\d+)?))?", prefer)
    if match is None:
        return 0.0
    return min(LONGEST_WAIT_SECONDS, max(1.0, float(match[1] or LONGEST_WAIT_SECONDS)))


def _cancel_after(text: str | None) -> float | None:
    if text is None:
        return None
    match = DURATION.fullmatch(text.strip())
    if match is not None:
        hours, minutes, seconds = (int(group or 0) for group in match.groups())
        duration = hours * 3600 + minutes * 60 + seconds
        if SHORTEST_CANCEL_AFTER <= duration <= LONGEST_CANCEL_AFTER:
            return float(duration)
    detail = "Cancel-After must be a duration between 5 seconds and 24 hours"
    raise Refused(json_response({"title": "Invalid header", "detail": detail, "status": 422}, 422))


def unauthenticated() -> Response:
    """Build the 401 of a missing or wrong token."""
    detail = "You did not pass a valid authentication token"
    return json_response({"title": "Unauthenticated", "detail": detail, "status": 401}, 401)


def not_found() -> Response:
    """Build the 404 of an unknown model or prediction."""
    return json_response(
        {"detail": "The requested resource could not be found.", "status": 404}, 404
    )


def invalid_version() -> Response:
    """Build the 422 of an unknown version, or of an account that may not run it."""
    detail = (
        "The specified version does not exist (or perhaps you don't have permission to use it?)"
    )
    title = "Invalid version or not permitted"
    return json_response({"title": title, "detail": detail, "status": 422}, 422)


def invalid_input(errors: list[InvalidField]) -> Response:
    """Build the 422 of an input that does not fit the model's schema."""
    fields = [
        {"type": error.type, "field": error.field, "description": error.description}
        for error in errors
    ]
    lines = [
        f"- {error.description}\n"
        if error.field == "(root)"
        else f"- {error.field}: {error.description}\n"
        for error in errors
    ]
    return json_response(
        {
            "detail": "".join(lines),
            "status": 422,
            "title": "Input validation failed",
            "invalid_fields": fields,
        },
        422,
    )


def payment_required(refusal: str) -> Response:
    """Build the 402 of an account without credit or over its own limit."""
    if refusal == "spend_limit":
        title = "Monthly spend limit reached"
        detail = (
            "You've hit your monthly spend limit. You can change or remove your limit at "
            "https://replicate.com/account/billing#limits."
        )
    else:
        title = "Insufficient credit"
        detail = (
            "You have insufficient credit to run this model. Go to "
            "https://replicate.com/account/billing#billing to purchase credit. Once you purchase "
            "credit, please wait a few minutes before trying again."
        )
    return json_response({"title": title, "detail": detail, "status": 402}, 402)


def throttled(retry_after_seconds: int) -> Response:
    """Build the 429."""
    detail = f"Request was throttled. Your rate limit resets in ~{retry_after_seconds}s."
    return json_response(
        {"detail": detail, "status": 429, "retry_after": retry_after_seconds},
        429,
        {"Retry-After": str(retry_after_seconds)},
    )

"""Read what a request to create a prediction asks for, and refuse it in the vendor's words.

Prices and versions are those of the models' public pages.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox.http import json_response

DURATION = re.compile(r"(\d+)([smh]?)")
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Model:
    """Describe a model; `version` is "hidden" for official ones, 64 hex digits otherwise."""

    name: str
    version: str
    price_usd: float


MODELS = (
    Model("black-forest-labs/flux-schnell", "hidden", 0.003),
    Model("black-forest-labs/flux-dev", "hidden", 0.025),
    Model(
        "stability-ai/sdxl",
        "7762fd07cf82c948538e41f63f77d685e02b063e37e496e96eefd46c929f9bdc",
        0.0045,
    ),
)
# Official models run by their name alone, others by a version.
OFFICIAL = {model.name: model for model in MODELS if model.version == "hidden"}
VERSIONS = {**OFFICIAL, **{model.version: model for model in MODELS if model.version != "hidden"}}


class Refused(Exception):
    """Carry the reply that refuses a request."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(f"refused with HTTP {response.status}")
        self.response = response


@dataclass(frozen=True)
class Creation:
    """Hold a request to create a prediction that passed all checks."""

    model: Model
    input: dict[str, Any]
    webhook: str
    cancel_after_seconds: float | None


async def read_creation(request: web.Request) -> Creation:
    """Check a request to create a prediction; raises Refused with the vendor's reply."""
    try:
        body = json.loads(await request.read())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(json_response({"detail": "Request body must be a JSON object"}, 400))
    if "model" in request.match_info:
        model = OFFICIAL.get(request.match_info["model"])
        if model is None:
            raise Refused(not_found())
    else:
        model = VERSIONS.get(str(body.get("version") or "").rpartition(":")[2])
        if model is None:
            raise Refused(invalid_version())
    given = body.get("input")
    if not isinstance(given, dict) or "prompt" not in given:
        raise Refused(_invalid_input("input", "prompt is required"))
    duration = DURATION.fullmatch(request.headers.get("Cancel-After", ""))
    seconds = float(int(duration[1]) * SECONDS[duration[2]]) if duration else None
    return Creation(model, given, body.get("webhook") or "", seconds)


def unauthenticated() -> web.Response:
    return _titled(401, "Unauthenticated", "You did not pass a valid authentication token")


def not_found() -> web.Response:
    detail = "The requested resource could not be found."
    return json_response({"detail": detail, "status": 404}, 404)


def invalid_version() -> web.Response:
    """Build the 422 of an unknown version, or of an account that may not run it."""
    return _titled(
        422,
        "Invalid version or not permitted",
        "The specified version does not exist (or perhaps you don't have permission to use it?)",
    )


def _invalid_input(field: str, description: str) -> web.Response:
    return json_response(
        {
            "detail": f"- {field}: {description}\n",
            "status": 422,
            "title": "Input validation failed",
            "invalid_fields": [{"type": "required", "field": field, "description": description}],
        },
        422,
    )


def payment_required(refusal: str) -> web.Response:
    """Build the 402 of an account without credit or over its own limit."""
    if refusal == "spend_limit":
        return _titled(
            402,
            "Monthly spend limit reached",
            "You've hit your monthly spend limit. You can change or remove your limit at "
            "https://replicate.com/account/billing#limits.",
        )
    return _titled(
        402,
        "Insufficient credit",
        "You have insufficient credit to run this model. Go to "
        "https://replicate.com/account/billing#billing to purchase credit. Once you purchase "
        "credit, please wait a few minutes before trying again.",
    )


def throttled(retry_after_seconds: int) -> web.Response:
    detail = f"Request was throttled. Your rate limit resets in ~{retry_after_seconds}s."
    return json_response(
        {"detail": detail, "status": 429, "retry_after": retry_after_seconds},
        429,
        {"Retry-After": str(retry_after_seconds)},
    )


def _titled(status: int, title: str, detail: str) -> web.Response:
    return json_response({"title": title, "detail": detail, "status": status}, status)

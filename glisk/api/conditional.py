"""Answers that are not sent again while they are the same."""

import hashlib
import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control
from django.utils.http import parse_etags, quote_etag


def conditional_json(
    request: HttpRequest, payload: Any, *, max_age: int = 0, status: int = 200
) -> HttpResponse:
    """Return the payload as JSON, or 304: see `conditional_text`."""
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    return conditional_text(request, text, max_age=max_age, status=status)


def conditional_text(
    request: HttpRequest, text: str, *, max_age: int = 0, status: int = 200
) -> HttpResponse:
    """Return a JSON text with an ETag, or 304 if the caller's If-None-Match has it.

    `max_age` (seconds) 0 lets caches keep the answer but ask each time. The tag is made of the
    very bytes, so an answer that differs in anything is sent.
    """
    body = text.encode()
    tag = quote_etag(hashlib.blake2b(body, digest_size=16).hexdigest())
    response: HttpResponse
    if _has(request, tag):
        response = HttpResponse(status=304)
        del response["Content-Type"]
    else:
        response = HttpResponse(body, content_type="application/json", status=status)
    response["ETag"] = tag
    if max_age:
        patch_cache_control(response, public=True, max_age=max_age)
    else:
        patch_cache_control(response, no_cache=True)
    return response


def _has(request: HttpRequest, tag: str) -> bool:
    given = parse_etags(request.headers.get("If-None-Match", ""))
    # Proxies that compress weaken the tags that pass through them.
    return "*" in given or tag in (value.removeprefix("W/") for value in given)

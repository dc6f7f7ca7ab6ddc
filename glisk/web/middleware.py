"""What every request passes through, besides Django's own."""

import re
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.middleware import common

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestContextMiddleware:
    """Bind a request id to every log line of a request and give it back to the caller."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        return response


class CommonMiddleware(common.CommonMiddleware):
    """Django's; but the health pages answer to any host, since they tell nobody's secrets.

    Load balancers and orchestrators ask with an IP address or a container's name as Host.
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        if request.path_info == "/health" or request.path_info.startswith("/health/"):
            return None
        return super().process_request(request)

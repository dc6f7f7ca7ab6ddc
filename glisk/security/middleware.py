"""What every request passes through at the door: what pages may load, and who may go on.

The Content-Security-Policy is a constant text for each kind of page; a view that sets its own keeps
it (the gallery, pictures). docs/deployment.md says why the admin's has `unsafe-eval`, and what
would remove it.
"""

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.handlers.exception import response_for_exception
from django.db import DataError, connection
from django.http import HttpRequest, HttpResponse

from glisk.clients.links import gateway_origin
from glisk.security.sessions import SAFE, refusal_of

HEADER: Final = "Content-Security-Policy"
_ALL: Final = "default-src 'none'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
DATA: Final = f"{_ALL}; form-action 'none'"
# The hash is that of the style in refusal.html, which needs nothing but itself.
REFUSALS: Final = (
    f"{DATA}; img-src data:; style-src 'sha256-SQytU3RLjUHv9sOfCNwhc55NuWyB8oNpL8dHNMo8Evo='"
)
_OURS: Final = "script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'"
# Both style their pages by script; Redoc's search works in a worker that it makes itself.
DOCS: Final = f"{DATA}; {_OURS}; img-src 'self' data:; font-src 'self' data:; worker-src blob:"
_STAFF_PAGES: Final = ("/admin", "/api/admin")


class ContentPolicyMiddleware:
    """Add the policy of the kind of page; the text is ready, so that an API call pays nothing."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if HEADER not in response.headers:
            response.headers[HEADER] = policy_of(
                request.path_info, response.headers.get("Content-Type", "")
            )
        return response


def policy_of(path: str, content_type: str) -> str:
    """Return the policy for an answer at a path."""
    if not content_type.startswith("text/html"):
        return DATA
    if path.startswith("/admin"):  # the theme's scripts are evaluated
        return (
            f"{_ALL}; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data: {gateway_origin()}; font-src 'self'; connect-src 'self'; "
            "form-action 'self'"
        )
    return DOCS if path in ("/docs", "/redoc") else REFUSALS


class StaffSessionMiddleware:
    """Look at the sessions of whoever opens a page of the staff or changes anything.

    A request without the session's cookie (webhooks, the public API, API tokens) passes at once. A
    session that has shown its second factor costs no query of its own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and (
            request.method not in SAFE or request.path_info.startswith(_STAFF_PAGES)
        ):
            refusal = refusal_of(request)
            if request.method not in SAFE and not connection.in_atomic_block:
                connection.close()  # into the pool: the body comes when its sender likes
            if refusal is not None:
                return refusal
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer 400 where a page's address or form holds what no column does, such as a NUL."""
        if isinstance(error, DataError) and request.path_info.startswith("/admin"):
            return response_for_exception(request, BadRequest(str(error)))
        return None

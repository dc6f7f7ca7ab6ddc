"""The Content-Security-Policy of every answer: what a page may load and run.

A view that sets its own keeps it (the gallery, pictures). docs/deployment.md says why the admin's
has `unsafe-eval`, and what would remove it.
"""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from glisk.clients.links import gateway_origin

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
    if path.startswith("/admin"):
        return _admin()
    return DOCS if path in ("/docs", "/redoc") else REFUSALS


def _admin() -> str:
    """Let the theme's scripts be evaluated, and pictures come from the gateway."""
    return (
        f"{_ALL}; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: {gateway_origin()}; font-src 'self'; connect-src 'self'; "
        "form-action 'self'"
    )

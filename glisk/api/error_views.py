"""What is answered where no view answers: in JSON for programs, as a page for people."""

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from glisk.api.exceptions import FAILURE_DETAIL, SENSELESS_DETAIL

DISALLOWED_HOST_DETAIL = (
    "This host is not allowed: the server does not answer to the name in the request's Host "
    "header. Its operator adds names to ALLOWED_HOSTS."
)
_PROGRAMS = ("/api/", "/webhooks/")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404; `detail` is a text, as in every error of the API."""
    if request.path.startswith(_PROGRAMS):
        return JsonResponse({"detail": "There is nothing at this address."}, status=404)
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 to a request that Django refuses, and say so if it is for its host."""
    is_host = isinstance(exception, DisallowedHost)
    if request.path.startswith(_PROGRAMS):
        detail = DISALLOWED_HOST_DETAIL if is_host else SENSELESS_DETAIL
        return JsonResponse({"detail": detail}, status=400)
    return defaults.bad_request(
        request, exception, template_name="400_host.html" if is_host else "400.html"
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500 for a fault outside a view, such as a middleware's; never its text."""
    if request.path.startswith(_PROGRAMS):
        return JsonResponse({"detail": FAILURE_DETAIL}, status=500)
    return defaults.server_error(request)

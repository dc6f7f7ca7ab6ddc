"""Answer the webhooks without what only browsers need.

Sessions, CSRF tokens, cross-origin rules and messages are nothing to a vendor's signed delivery,
yet with the search through all other URLs they cost a third of its CPU. What stands before this
in `MIDDLEWARE` counts for webhooks too: the request's id, the security headers, the allowed hosts.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse
from django.urls import Resolver404, resolve

from webhooks.urls import PREFIX

_URLS = "webhooks.urls"


class WebhookShortcut:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(f"/{PREFIX}"):
            return self.get_response(request)
        try:
            match = resolve(request.path_info, _URLS)
        except Resolver404:  # the usual way has the page for it
            return self.get_response(request)
        request.resolver_match = match
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        if isinstance(response, SimpleTemplateResponse):
            response.render()
        return response

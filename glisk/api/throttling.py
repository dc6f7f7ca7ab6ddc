"""Request limits as the API framework wants them; the counting is in glisk.web.request_counts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from glisk.web.request_counts import network_of, seconds_to_wait
from glisk.web.sender_address import sender_address

if TYPE_CHECKING:
    from rest_framework.views import APIView


class SignedRequestThrottle(BaseThrottle):
    """Bound the signed requests of one IP address over all endpoints, right or wrong."""

    def __init__(self) -> None:
        self._wait: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        self._wait = seconds_to_wait(
            scope="ip",
            subject=network_of(sender_address(request)),
            limit=settings.SIGNED_REQUESTS_PER_MINUTE,
            window=timedelta(minutes=1),
        )
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait

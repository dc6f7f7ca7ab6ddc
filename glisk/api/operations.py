"""The operations API's doorman: staff only, by session or token, each with the right permission.

A view names its permission (glisk.permissions) in `permission`; a session also needs Django's
CSRF token, a script sends `Authorization: Token <token>` (`manage.py create_api_token`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme
from knox.auth import TokenAuthentication
from rest_framework import exceptions
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from glisk.admin.audit import actor_of
from glisk.web.request_counts import seconds_to_wait


class ApiTokenAuthentication(TokenAuthentication):
    """Knox's tokens, of which only a digest is stored."""

    def authenticate_credentials(self, token: bytes) -> tuple[Any, Any]:
        if not (token.isascii() and token.replace(b"_", b"").isalnum()):
            raise exceptions.AuthenticationFailed("Invalid token.")
        found: tuple[Any, Any] = super().authenticate_credentials(token)
        return found


class ApiTokenScheme(KnoxTokenScheme):
    """What the API's documentation says of it."""

    target_class = "glisk.api.operations.ApiTokenAuthentication"
    name = "apiToken"


class MayOperate(BasePermission):
    """Staff with the permission that the view names."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        user = request.user
        if user is None or not user.is_staff or not isinstance(view, OperationsView):
            return False
        return bool(user.has_perm(view.permission))


class OperationsThrottle(BaseThrottle):
    """Bound the requests of one user over all endpoints and web processes."""

    def __init__(self) -> None:
        self._wait: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        self._wait = seconds_to_wait(
            scope="operations",
            subject=str(request.user.pk),
            limit=settings.OPERATIONS_REQUESTS_PER_MINUTE,
            window=timedelta(minutes=1),
        )
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait


class OperationsView(APIView):
    """The base of every view under /api/admin/."""

    authentication_classes = (ApiTokenAuthentication, SessionAuthentication)
    permission_classes = (MayOperate,)
    throttle_classes = (OperationsThrottle,)
    permission: ClassVar[str]

    @property
    def actor(self) -> str:
        """The name under which what is done enters the books."""
        return actor_of(self.request.user)

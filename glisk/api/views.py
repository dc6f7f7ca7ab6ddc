"""What views of the API are made of: those that answer 304, and those of the operations API.

The latter are for the staff, by session or token. A view names its permission (glisk.permissions)
in `permission`; a session also needs Django's CSRF token, a script sends
`Authorization: Token <token>` (`manage.py create_api_token`).
"""

from typing import Any, ClassVar

from django.utils.cache import patch_cache_control
from django.utils.decorators import method_decorator
from django.views.decorators.http import conditional_page
from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme
from knox.auth import TokenAuthentication
from rest_framework import exceptions
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from glisk.admin.audit import actor_of
from glisk.api.exceptions import ErrorSerializer
from glisk.api.throttling import OperationsThrottle

# What each view of the operations API may answer, besides its own (for the schema).
REFUSALS = {401: ErrorSerializer, 403: ErrorSerializer, 429: ErrorSerializer}


@method_decorator(conditional_page, name="dispatch")
class ConditionalView(APIView):
    # No docstring: the schema would describe each view by it. The ETag is made of the very bytes.
    # With 0 (seconds) caches keep an answer but ask each time.
    max_age: ClassVar[int] = 0

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        if answer.status_code == 200:
            kept = {"public": True, "max_age": self.max_age} if self.max_age else {"no_cache": True}
            patch_cache_control(answer, **kept)
        return answer


class ApiTokenAuthentication(TokenAuthentication):
    """Knox's tokens, of which only a digest is stored."""

    def authenticate_credentials(self, token: bytes) -> tuple[Any, Any]:
        if not (token.isascii() and token.replace(b"_", b"").isalnum()):
            raise exceptions.AuthenticationFailed("Invalid token.")
        found: tuple[Any, Any] = super().authenticate_credentials(token)
        return found


class ApiTokenScheme(KnoxTokenScheme):
    """What the API's documentation says of it."""

    target_class = "glisk.api.views.ApiTokenAuthentication"
    name = "apiToken"


class MayOperate(BasePermission):
    """Staff with the permission that the view names."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        user = request.user
        if user is None or not user.is_staff or not isinstance(view, OperationsView):
            return False
        return bool(user.has_perm(view.permission))


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

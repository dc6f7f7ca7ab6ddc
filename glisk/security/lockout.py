"""Wrong passwords: who is counted, what somebody who is locked out reads, and the ways back.

django-axes counts in the database, so that a lockout holds over all web processes. It counts a name
and an address together: a name alone would let anybody lock an operator out at night. Somebody who
goes through many names is held up for a minute, whoever they are: to check a password takes a third
of a second of CPU.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from axes.backends import AxesStandaloneBackend
from axes.exceptions import AxesBackendPermissionDenied
from axes.models import AccessAttempt
from axes.utils import reset
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import MinimumLengthValidator
from django.db import transaction
from django.db.models import Max, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from glisk.api.throttling import network_of, seconds_to_wait, sender_address

_A_MINUTE: Final = timedelta(minutes=1)
logger = structlog.get_logger(__name__)


class LoginBackend(AxesStandaloneBackend):
    """Refuses who is locked out, and more logins of one address than people need in a minute."""

    def authenticate(self, request: HttpRequest, *args: Any, **credentials: Any) -> None:
        super().authenticate(request, *args, **credentials)
        wait = seconds_to_wait(
            scope="login",
            subject=counted_address(request) or "",
            limit=4 * settings.AXES_FAILURE_LIMIT,
            window=_A_MINUTE,
        )
        if wait is not None:
            # An attribute of axes, which Django's type of a request does not know.
            request.axes_locked_out = True  # type: ignore[attr-defined]
            raise AxesBackendPermissionDenied("Too many logins from one address.")


def counted_address(request: HttpRequest) -> str | None:
    """Return the address that wrong passwords are counted by; of an IPv6 sender, its /64.

    None where the web server has none to tell (a socket without addresses).
    """
    return network_of(sender_address(request)).partition("/")[0] or None


def refuse_locked_out(
    request: HttpRequest, answer: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """Answer 429 with a page that says when the lockout ends (AXES_LOCKOUT_CALLABLE)."""
    username = (credentials or {}).get("username") or ""
    address = counted_address(request)
    ends_at = lockout_end(username, address) or timezone.now() + _A_MINUTE
    # Some type their password where the name belongs: a name that nobody has stays out of the log.
    known = User.objects.filter(username=username).exists()
    logger.warning("login_locked", user=username if known else "(nobody)", address=address)
    seconds = max(1, math.ceil((ends_at - timezone.now()).total_seconds()))
    context = {
        **admin.site.each_context(request),
        "title": "Too many logins",
        "name": username,
        "ends_at": ends_at,
        "minutes": math.ceil(seconds / 60),
    }
    page = TemplateResponse(request, "admin/locked_out.html", context, status=429)
    page["Retry-After"] = str(seconds)
    return page.render()


def lockout_end(username: str, address: str | None = None) -> datetime | None:
    """Return when the latest lockout of a name ends, from one address or from any; None: none."""
    since = timezone.now() - settings.AXES_COOLOFF_TIME
    attempts = AccessAttempt.objects.filter(username=username, attempt_time__gt=since)
    if address is not None:
        attempts = attempts.filter(ip_address=address)
    locked = (
        attempts.values("ip_address")
        .annotate(failures=Sum("failures_since_start"), last=Max("attempt_time"))
        .filter(failures__gte=settings.AXES_FAILURE_LIMIT)
        .order_by("-last")
        .first()
    )
    return None if locked is None else locked["last"] + settings.AXES_COOLOFF_TIME


@transaction.atomic
def unlock_login(user: User) -> int:
    """Forget a user's wrong passwords and codes; return how many wrong passwords were counted."""
    attempts = AccessAttempt.objects.filter(username=user.get_username())
    counted: int = attempts.aggregate(number=Sum("failures_since_start"))["number"] or 0
    reset(username=user.get_username())
    for devices in (TOTPDevice.objects, StaticDevice.objects):
        devices.filter(user=user).update(
            throttling_failure_count=0, throttling_failure_timestamp=None
        )
    return counted


def purge_login_attempts() -> int:
    """Forget wrong passwords once they lock nobody out; some people type theirs as the name."""
    over = timezone.now() - settings.AXES_COOLOFF_TIME
    forgotten: int = AccessAttempt.objects.filter(attempt_time__lt=over).delete()[0]
    return forgotten


class LengthValidator(MinimumLengthValidator):
    """Django's; and with a new password a lockout is over (`manage.py changepassword`).

    So is the wait for the second factor: who knew the old password may have made it days long.
    """

    def password_changed(self, password: str, user: Any = None) -> None:
        if user is not None:
            unlock_login(user)

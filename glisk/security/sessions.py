"""The sessions of the staff: how long they last, and that nobody acts without a second factor."""

from __future__ import annotations

import time
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.timezone import now
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.plugins.otp_totp.models import TOTPDevice

from glisk.permissions import may_act

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# Open to somebody who has given a password only: the way on, and the way out.
_OPEN: Final = ("/admin/second-factor/", "/admin/login/", "/admin/logout/")
_BEGAN_AT: Final = "began_at"  # Unix time
_SEEN_AT: Final = "seen_at"
_OWES_A_CODE: Final = "owes_a_code"
_SEEN_EVERY_SECONDS: Final = 60


@receiver(user_logged_in, dispatch_uid="glisk.security.sessions")
def begin_session(request: HttpRequest, user: User, **_: Any) -> None:
    """Note when a session began, and whether its user has a second factor to show."""
    request.session[_BEGAN_AT] = request.session[_SEEN_AT] = int(time.time())
    request.session[_OWES_A_CODE] = has_second_factor(user)


def has_second_factor(user: User) -> bool:
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def is_verified(request: HttpRequest) -> bool:
    """Say whether this session has shown its user's second factor."""
    return DEVICE_ID_SESSION_KEY in request.session


def end_sessions(user: User, *, but: str | None = None) -> int:
    """Log a user out everywhere, but in the session of this key; return from how many sessions."""
    keys = [
        session.session_key
        for session in Session.objects.filter(expire_date__gt=now()).exclude(session_key=but)
        if session.get_decoded().get(SESSION_KEY) == str(user.pk)
    ]
    return Session.objects.filter(session_key__in=keys).delete()[0]


def refusal_of(request: HttpRequest) -> HttpResponse | None:
    """Return the answer to a session that may not go on: it shows no second factor; else None.

    One that is over is logged out, and goes on as nobody's.
    """
    if not request.user.is_authenticated:
        return None
    if _is_over(request):
        logout(request)
        return None
    if is_verified(request) or request.path_info.startswith(_OPEN):
        return None
    is_required = settings.SECOND_FACTOR_REQUIRED and may_act(request.user)
    if not is_required and not request.session.get(_OWES_A_CODE):
        return None
    if request.path_info.startswith("/admin"):
        page = reverse("second-factor")
        if request.method in SAFE:
            page = f"{page}?{urlencode({'next': request.get_full_path()})}"
        return HttpResponseRedirect(page)
    return JsonResponse(
        {"detail": "This login needs its second factor: open /admin/ and sign in."}, status=403
    )


def _is_over(request: HttpRequest) -> bool:
    """Say whether a session has lasted long enough; note that its user is there.

    Django ends a session that was not saved for SESSION_COOKIE_AGE. A page that refreshes itself is
    nobody who is there: only what a person opens or sends saves it.
    """
    session, moment = request.session, int(time.time())
    if moment - session.setdefault(_BEGAN_AT, moment) > settings.SESSION_MAX_SECONDS:
        return True
    by_a_person = request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
    every = min(_SEEN_EVERY_SECONDS, settings.SESSION_COOKIE_AGE // 4)
    if by_a_person and moment - session.get(_SEEN_AT, 0) >= every:
        session[_SEEN_AT] = moment
    return False

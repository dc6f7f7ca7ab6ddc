"""The second factor: an app that shows codes (TOTP), and recovery codes for a lost phone.

django-otp keeps both and checks codes: none works twice, and each wrong one doubles the wait for
the next.
"""

from __future__ import annotations

from base64 import b32encode
from binascii import unhexlify
from datetime import datetime
from typing import Any, Final, cast

import django_otp
from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.safestring import mark_safe
from django_otp.models import Device
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice, default_key
from unfold.widgets import BASE_INPUT_CLASSES

from glisk.admin.audit import actor_of, record_action
from glisk.security.sessions import end_sessions, has_second_factor, is_verified

RECOVERY_CODES: Final = 10
_KEY: Final = "second_factor_key"  # of the session: the secret that is being set up, hexadecimal
_TOLERANCE: Final = 1  # steps of 30 s: clocks differ


class CodeForm(forms.Form):
    code = forms.CharField(
        max_length=32,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "autofocus": "",
                "spellcheck": "false",
                "class": " ".join(BASE_INPUT_CLASSES),
            }
        ),
    )

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        return "".join(code.lower().replace("-", "").split())


# -- the pages -------------------------------------------------------------------------


@admin.site.admin_view
def second_factor(request: HttpRequest) -> HttpResponse:
    """Ask for the code; show somebody who has given it what they have."""
    user = cast(User, request.user)  # admin_view let nobody else in
    if not has_second_factor(user):
        return HttpResponseRedirect(f"{reverse('second-factor-set-up')}?{_next_query(request)}")
    if is_verified(request):
        if request.method == "POST":
            return _show_codes(request, user, "renew_recovery_codes")
        left = StaticToken.objects.filter(device__user=user).count()
        return _page(request, "status", "Second factor", codes_left=left)
    form = CodeForm(request.POST or None)
    wait = None
    if form.is_valid():
        device, wait = check_code(user, form.cleaned_data["code"])
        if device is not None:
            _let_in(request, device)
            return HttpResponseRedirect(_next_page(request))
        if wait is None:
            form.add_error("code", "This code is not right, or was used already.")
    page = _page(request, "ask", "Second factor", form=form, wait=wait)
    page.status_code = 429 if wait else 200
    return page


@admin.site.admin_view
def set_up(request: HttpRequest) -> HttpResponse:
    """Show the secret, as a picture too, until a code of it is given; then the recovery codes."""
    user = cast(User, request.user)  # admin_view let nobody else in
    if has_second_factor(user) and not is_verified(request):
        return HttpResponseRedirect(f"{reverse('second-factor')}?{_next_query(request)}")
    key = request.session.setdefault(_KEY, default_key())
    form = CodeForm(request.POST or None)
    if form.is_valid():
        device = keep_device(user, key, form.cleaned_data["code"], again=is_verified(request))
        if device is not None:
            del request.session[_KEY]
            _let_in(request, device)
            end_sessions(user, but=request.session.session_key)
            return _show_codes(request, user, "set_up_second_factor")
        form.add_error("code", "This code is not right. Is the phone's clock right?")
    import segno

    pending = TOTPDevice(user=user, key=key)
    secret = b32encode(pending.bin_key).decode()
    drawn: str = segno.make(pending.config_url).svg_inline(scale=5, border=4, light="#fff")
    return _page(
        request,
        "set_up",
        "Set up your second factor",
        form=form,
        picture=mark_safe(drawn),  # noqa: S308 - segno's SVG: the address is in it as squares only
        secret=" ".join(secret[i : i + 4] for i in range(0, len(secret), 4)),
    )


def _show_codes(request: HttpRequest, user: User, action: str) -> HttpResponse:
    """Show new recovery codes, this once."""
    codes = make_recovery_codes(user, action=action)
    return _page(request, "codes", "Your recovery codes", codes=codes)


def _page(request: HttpRequest, name: str, title: str, **context: Any) -> TemplateResponse:
    shared = {
        **admin.site.each_context(request),
        "title": title,
        "next": _next_page(request),
        "set_up_url": reverse("second-factor-set-up"),
    }
    return TemplateResponse(request, f"admin/second_factor/{name}.html", {**shared, **context})


def _next_page(request: HttpRequest) -> str:
    wanted = request.POST.get("next") or request.GET.get("next", "")
    if url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return wanted
    return reverse("admin:index")


def _next_query(request: HttpRequest) -> str:
    return urlencode({"next": _next_page(request)})


def _let_in(request: HttpRequest, device: Device) -> None:
    """Count the session as verified, under a new key."""
    request.session.cycle_key()
    django_otp.login(request, device)


# -- what the pages do -----------------------------------------------------------------


@transaction.atomic
def check_code(user: User, code: str) -> tuple[Device | None, datetime | None]:
    """Check a code of the app (six digits) or a recovery code, which is used up by it.

    Returns the device that it is of, or None with the moment until which no code is checked.
    """
    model = TOTPDevice if code.isdecimal() and len(code) == 6 else StaticDevice
    device = model.objects.select_for_update().filter(user=user, confirmed=True).first()
    if device is None:
        return None, None
    allowed, why = device.verify_is_allowed()
    if not allowed:
        return None, why["locked_until"]
    return (device if device.verify_token(code) else None), None


@transaction.atomic
def keep_device(user: User, key: str, code: str, *, again: bool) -> TOTPDevice | None:
    """Store a secret whose code was given, in place of an older one; None if the code is wrong.

    Without `again` a user who has a second factor meanwhile keeps it: None.
    """
    User.objects.select_for_update().get(pk=user.pk)
    totp = TOTP(unhexlify(key))
    if not code.isdecimal() or not totp.verify(int(code), _TOLERANCE):
        return None
    if has_second_factor(user) and not again:
        return None
    TOTPDevice.objects.filter(user=user).delete()
    return TOTPDevice.objects.create(
        user=user, name="app", key=key, last_t=totp.t(), drift=totp.drift, tolerance=_TOLERANCE
    )


@transaction.atomic
def make_recovery_codes(user: User, *, action: str) -> list[str]:
    """Return new codes, each good for one login; those before are void. The audit tells."""
    record_action(
        actor=actor_of(user), action=action, subject=user.get_username()[:100], reason="their own"
    )
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="recovery codes")
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=code) for code in codes)
    return [f"{code[:4]}-{code[4:]}" for code in codes]


@transaction.atomic
def remove_second_factor(user: User, *, actor: str, reason: str) -> bool:
    """Take a user's second factor away and log them out everywhere; False if there was none."""
    had = has_second_factor(user)
    TOTPDevice.objects.filter(user=user).delete()
    StaticDevice.objects.filter(user=user).delete()
    if had:
        end_sessions(user)
        record_action(
            actor=actor,
            action="remove_second_factor",
            subject=user.get_username()[:100],
            reason=reason,
        )
    return had

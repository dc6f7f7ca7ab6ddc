"""People who have an authenticator app, for tests."""

import time

from django.contrib.auth.models import User
from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

PASSWORD = "long enough, and known to this test"
ASK = "/admin/second-factor/"
SET_UP = "/admin/second-factor/set-up/"


def code_of(key: str, *, later: int = 0) -> str:
    """Return what the app shows for a secret, so many steps of 30 s from now."""
    totp = TOTP(bytes.fromhex(key))
    totp.time = time.time() + 30 * later
    return f"{totp.token():06d}"


def with_app(user: User) -> TOTPDevice:
    """Give a user a second factor."""
    return TOTPDevice.objects.create(user=user, name="app")


def log_in(client: Client, name: str, password: str = PASSWORD, **headers: str) -> int:
    """Send the login form; return the answer's status (302: let in)."""
    form = {"username": name, "password": password}
    return client.post("/admin/login/", form, **headers).status_code  # type: ignore[arg-type]

"""System checks of what a single variable cannot tell; run by `manage.py check --deploy`."""

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - compared only
_VENDOR_URLS = (
    "REPLICATE_BASE_URL",
    "PINATA_API_URL",
    "RPC_URL",
    "X_AUTHORIZE_URL",
    "X_API_URL",
    "OPTIMISM_RPC_URL",
    "FARCASTER_NAME_URL",
    "OPENSEA_API_URL",
)

Check = Callable[..., list[checks.CheckMessage]]


def _for_real_networks(check: Callable[[], list[checks.CheckMessage]]) -> Check:
    """Register a deployment check that a local chain need not pass."""

    def run(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
        return [] if settings.NETWORK == "LOCAL" else check()

    run.__doc__ = check.__doc__
    return checks.register(run, checks.Tags.security, deploy=True)


@_for_real_networks
def check_vendor_urls() -> list[checks.CheckMessage]:
    """Refuse emulators outside the local network (glisk.E001)."""
    return [
        checks.Error(
            f"{name} points to this machine; that is an emulator, not the vendor.",
            hint=f"Unset {name} or give the vendor's URL.",
            id="glisk.E001",
        )
        for name in _VENDOR_URLS
        if urlsplit(getattr(settings, name)).hostname in _LOOPBACK
    ]


@_for_real_networks
def check_callback_url() -> list[checks.CheckMessage]:
    """Refuse a public URL that Replicate would not call (glisk.E004)."""
    if urlsplit(settings.PUBLIC_BASE_URL).scheme in ("", "https"):
        return []
    return [
        checks.Error(
            "PUBLIC_BASE_URL is not HTTPS; Replicate refuses such a webhook.",
            hint="Give the HTTPS address, or none for completion by polling only.",
            id="glisk.E004",
        )
    ]


@_for_real_networks
def check_plain_http() -> list[checks.CheckMessage]:
    """Warn of credentials that would travel in the clear (glisk.W002)."""
    return [
        checks.Warning(f"{name} is plain HTTP: its credentials can be read.", id="glisk.W002")
        for name in _VENDOR_URLS
        if urlsplit(getattr(settings, name)).scheme == "http"
    ]


@_for_real_networks
def check_x_callback() -> list[checks.CheckMessage]:
    """Warn of a callback that the browser's cookie would not reach (glisk.W004)."""
    hosts = {urlsplit(url).hostname for url in (settings.FRONTEND_URL, settings.X_REDIRECT_URI)}
    if not settings.X_CLIENT_ID or not settings.X_SAME_BROWSER or len(hosts) == 1:
        return []
    return [
        checks.Warning(
            "X_REDIRECT_URI is not on the frontend's host: no X account can be linked.",
            hint="Register FRONTEND_URL/api/authors/x/callback at X, or set X_SAME_BROWSER=false.",
            id="glisk.W004",
        )
    ]


@checks.register(checks.Tags.security, deploy=True)
def check_local_network(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Warn when a production server stands on the local network (glisk.W001)."""
    if settings.NETWORK != "LOCAL" or not settings.PRODUCTION:
        return []
    return [
        checks.Warning(
            "NETWORK is LOCAL although APP_ENV is production.",
            hint="Set NETWORK to BASE_MAINNET or BASE_SEPOLIA.",
            id="glisk.W001",
        )
    ]


@checks.register(checks.Tags.database, deploy=True)
def check_embedded_database(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Warn when production runs on the embedded database (glisk.W003)."""
    if not settings.EMBEDDED_DATABASE or not settings.PRODUCTION:
        return []
    return [
        checks.Warning(
            "DATABASE_URL is not set, so the embedded PostgreSQL serves: one machine, no backups.",
            hint="Set DATABASE_URL.",
            id="glisk.W003",
        )
    ]


@_for_real_networks
def check_shared_limits() -> list[checks.CheckMessage]:
    """Warn when all visitors would count as one sender (glisk.W005)."""
    if settings.TRUSTED_PROXIES or not settings.SIGNED_REQUESTS_PER_MINUTE:
        return []
    return [
        checks.Warning(
            "TRUSTED_PROXIES is empty: behind a proxy all visitors share one limit of "
            f"{settings.SIGNED_REQUESTS_PER_MINUTE} signed requests a minute.",
            hint="Give the addresses of the proxies in front of this server; docs/deployment.md.",
            id="glisk.W005",
        )
    ]


@_for_real_networks
def check_redirect_to_https() -> list[checks.CheckMessage]:
    """Warn of names that are reached inside the network, where nobody speaks HTTPS (glisk.W006)."""
    internal = [host for host in settings.ALLOWED_HOSTS if _is_internal(host)]
    if not internal or not settings.SECURE_SSL_REDIRECT:
        return []
    return [
        checks.Warning(
            f"{', '.join(internal)} in ALLOWED_HOSTS: a frontend that passes requests on to such "
            "a name by HTTP (Next.js rewrites do, without X-Forwarded-Proto) gets redirects to "
            "HTTPS, without end.",
            hint="Set SECURE_SSL_REDIRECT=false and have the public proxy redirect to HTTPS, or "
            "take the name out: the health pages answer to any.",
            id="glisk.W006",
        )
    ]


@_for_real_networks
def check_rewrites() -> list[checks.CheckMessage]:
    """Say what the frontend's rewrites need, if it seems to be they that bring requests here."""
    frontend = urlsplit(settings.FRONTEND_URL).hostname
    if any(host != frontend for host in settings.ALLOWED_HOSTS):
        return []
    return [
        checks.Info(
            "ALLOWED_HOSTS holds the frontend's name only. Requests that Next.js rewrites pass on "
            "have the name of the rewrite's destination as Host, and no X-Forwarded-Proto.",
            hint="With rewrites, add the destination's name to ALLOWED_HOSTS, and set "
            "SECURE_SSL_REDIRECT=false if the destination is http://.",
            id="glisk.I001",
        )
    ]


def _is_internal(host: str) -> bool:
    """Tell whether only this network knows the name: an address, or a name without a dot."""
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." not in host and host != "*"

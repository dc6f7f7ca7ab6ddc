"""System checks of what a single variable cannot tell; run by `manage.py check --deploy`."""

import ipaddress
from collections.abc import Iterator, Sequence
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


@checks.register(checks.Tags.security, deploy=True)
def check_deployment(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Judge the settings together; a local chain need not pass what is for real networks."""
    found = list(_of_names())
    if settings.PRODUCTION:
        found += _of_production()
    return found if settings.NETWORK == "LOCAL" else [*found, *_of_real_networks()]


def _of_names() -> Iterator[checks.CheckMessage]:
    for name, meant in settings.MISNAMED_VARIABLES.items():
        yield checks.Warning(
            f"{name} is not known; did you mean {meant}?",
            hint="Rename it, or take it out; docs/configuration.md has all names.",
            id="glisk.W008",
        )


def _of_production() -> Iterator[checks.CheckMessage]:
    if settings.NETWORK == "LOCAL":
        yield checks.Warning(
            "NETWORK is LOCAL although APP_ENV is production.",
            hint="Set NETWORK to BASE_MAINNET or BASE_SEPOLIA.",
            id="glisk.W001",
        )
    if not settings.METRICS_TOKEN and not settings.METRICS_NETWORKS:
        yield checks.Info(
            "Nobody may read /metrics, nor what the health pages tell of money and keys.",
            hint="Set METRICS_TOKEN, or METRICS_NETWORKS; docs/deployment.md, Probes.",
            id="glisk.I002",
        )
    if settings.EMBEDDED_DATABASE:
        yield checks.Warning(
            "DATABASE_URL is not set, so the embedded PostgreSQL serves: one machine, no backups.",
            hint="Set DATABASE_URL.",
            id="glisk.W003",
        )


def _of_real_networks() -> Iterator[checks.CheckMessage]:
    if settings.KEEPER_KEY_IN_REACH:
        yield checks.Warning(
            "A process with this environment can read the keeper's private key, and signs nothing: "
            "whoever gets into the web server has the key.",
            hint="Give the worker alone KEEPER_PRIVATE_KEY_FILE, a file that only its user can "
            "read, and leave KEEPER_PRIVATE_KEY empty. In the worker's own environment this check "
            "says the same: there it is no fault.",
            id="glisk.W010",
        )
    for name in _VENDOR_URLS:
        url = urlsplit(getattr(settings, name))
        is_here = url.hostname in _LOOPBACK
        if is_here and not name.endswith("RPC_URL"):  # a node of one's own may run here
            yield checks.Error(
                f"{name} points to this machine; that is an emulator, not the vendor.",
                hint=f"Unset {name} or give the vendor's URL.",
                id="glisk.E001",
            )
        if url.scheme == "http" and not is_here:
            yield checks.Warning(
                f"{name} is plain HTTP: its credentials can be read.",
                hint="Give the vendor's https:// address.",
                id="glisk.W002",
            )
    if settings.NETWORK == "BASE_MAINNET" and not settings.DAILY_SPEND_CAP_USD:
        yield checks.Warning(
            "DAILY_SPEND_CAP_USD is 0: nothing ends what a day of images may cost.",
            hint="Set what a busy day may cost, in US dollars; the generation pauses above it.",
            id="glisk.W007",
        )
    if urlsplit(settings.PUBLIC_BASE_URL).scheme not in ("", "https"):
        yield checks.Error(
            "PUBLIC_BASE_URL is not HTTPS; Replicate refuses such a webhook.",
            hint="Give the HTTPS address, or none for completion by polling only.",
            id="glisk.E004",
        )
    hosts = {urlsplit(url).hostname for url in (settings.FRONTEND_URL, settings.X_REDIRECT_URI)}
    if settings.X_CLIENT_ID and settings.X_SAME_BROWSER and len(hosts) > 1:
        yield checks.Warning(
            "X_REDIRECT_URI is not on the frontend's host: no X account can be linked.",
            hint="Register FRONTEND_URL/api/authors/x/callback at X, or set X_SAME_BROWSER=false.",
            id="glisk.W004",
        )
    if settings.SIGNED_REQUESTS_PER_MINUTE and not settings.TRUSTED_PROXIES:
        yield checks.Warning(
            "TRUSTED_PROXIES is empty: behind a proxy all visitors share one limit of "
            f"{settings.SIGNED_REQUESTS_PER_MINUTE} signed requests a minute, and anybody's wrong "
            "passwords lock an operator out.",
            hint="Give the addresses of the proxies in front of this server; docs/deployment.md.",
            id="glisk.W005",
        )
    if not settings.SECOND_FACTOR_REQUIRED:
        yield checks.Warning(
            "SECOND_FACTOR_REQUIRED is false: a password alone may spend and reveal.",
            hint="Unset it; `manage.py remove_second_factor` helps who lost theirs.",
            id="glisk.W011",
        )
    internal = [host for host in settings.ALLOWED_HOSTS if _is_internal(host)]
    if internal and settings.SECURE_SSL_REDIRECT:
        yield checks.Warning(
            f"{', '.join(internal)} in ALLOWED_HOSTS: a frontend that passes requests on to such "
            "a name by HTTP (Next.js rewrites do, without X-Forwarded-Proto) gets redirects to "
            "HTTPS, without end.",
            hint="Set SECURE_SSL_REDIRECT=false and have the public proxy redirect to HTTPS, or "
            "take the name out: the health pages answer to any.",
            id="glisk.W006",
        )
    frontend = urlsplit(settings.FRONTEND_URL).hostname
    if all(host == frontend for host in settings.ALLOWED_HOSTS):
        yield checks.Info(
            "ALLOWED_HOSTS holds the frontend's name only. Requests that Next.js rewrites pass on "
            "have the name of the rewrite's destination as Host, and no X-Forwarded-Proto.",
            hint="With rewrites, add the destination's name to ALLOWED_HOSTS, and set "
            "SECURE_SSL_REDIRECT=false if the destination is http://.",
            id="glisk.I001",
        )


def _is_internal(host: str) -> bool:
    """Tell whether only this network knows the name: an address, or a name without a dot."""
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." not in host and host != "*"

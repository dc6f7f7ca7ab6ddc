"""System checks of what a single variable cannot tell; run by `manage.py check --deploy`."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

# The keeper keys of public test mnemonics are known to everybody.
_PUBLIC_KEYS = frozenset(
    {
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
    }
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - compared only


@register(Tags.security, deploy=True)
def check_vendor_urls(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Refuse emulators outside the local network (glisk.E001)."""
    if settings.NETWORK == "LOCAL":
        return []
    return [
        Error(
            f"{name} points to this machine; that is an emulator, not the vendor.",
            hint=f"Unset {name} or give the vendor's URL.",
            id="glisk.E001",
        )
        for name in ("REPLICATE_BASE_URL", "PINATA_API_URL", "RPC_URL")
        if urlsplit(getattr(settings, name)).hostname in _LOOPBACK
    ]


@register(Tags.security, deploy=True)
def check_keeper_key(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a keeper key that everybody knows (glisk.E002)."""
    if settings.NETWORK == "LOCAL" or settings.KEEPER_PRIVATE_KEY not in _PUBLIC_KEYS:
        return []
    return [
        Error(
            "KEEPER_PRIVATE_KEY is a public test key; anybody could empty this wallet.",
            hint="Create a new key for the keeper and grant its address KEEPER_ROLE.",
            id="glisk.E002",
        )
    ]


@register(Tags.security, deploy=True)
def check_local_network(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn when a production server stands on the local network (glisk.W001)."""
    if settings.NETWORK != "LOCAL" or not settings.PRODUCTION:
        return []
    return [
        Warning(
            "NETWORK is LOCAL although APP_ENV is production.",
            hint="Set NETWORK to BASE_MAINNET or BASE_SEPOLIA.",
            id="glisk.W001",
        )
    ]

"""Which sites may ask a wallet for a signature: those of SIGN_IN_DOMAIN."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest


def is_allowed_site(site: str) -> bool:
    """Say whether this host, or host:port, is one of our sites."""
    site = site.lower()
    return any(
        site == allowed or (allowed.startswith("*.") and site.endswith(allowed[1:]))
        for allowed in settings.SIGN_IN_DOMAIN
    )


def asking_site(request: HttpRequest) -> str:
    """Return the site whose page asks, if it is one of ours, else the first of ours.

    A wallet warns its owner if the message names another site than the one that it is shown on.
    """
    for header in ("Origin", "Referer"):  # browsers send no Origin with a GET to their own site
        site = _authority(request.headers.get(header, ""))
        if site and is_allowed_site(site):
            return site
    return str(settings.SIGN_IN_DOMAIN[0])


def address_of(site: str) -> str:
    """Return the URL of a site: it is served as the frontend is."""
    frontend = urlsplit(settings.FRONTEND_URL)
    is_frontend = site == frontend.netloc.lower()
    return settings.FRONTEND_URL if is_frontend else f"{frontend.scheme}://{site}"


def _authority(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""

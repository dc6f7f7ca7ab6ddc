"""The public gallery: one page, and the small answer that its script asks for again and again."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import conditional_page, require_safe

from authors.models import Author
from glisk.api.short_memory import ShortMemory
from glisk.clients.links import explorer_url, gateway_origin, gateway_url
from tokens.models import Token
from tokens.states import ACTIVE, TokenStatus

REVEALS_SHOWN: Final = 24
UNDER_WAY_SHOWN: Final = 24
FAILED_SHOWN_FOR: Final = timedelta(hours=24)
_NOTHING: Final[dict[str, Any]] = {"under_way": [], "revealed": [], "older_url": ""}
# Every open page asks each 2.5 s: less than that, so that none sees an older state than before.
_newest: ShortMemory[dict[str, Any]] = ShortMemory(seconds=1)

logger = structlog.get_logger(__name__)


@require_safe
@cache_control(no_cache=True)
def gallery(request: HttpRequest) -> HttpResponse:
    """Show the newest reveals and the tokens on their way; `?before=<token id>` shows older ones.

    The page works without its script; with it, it follows the pipeline. Without the
    database it says so, and its script goes on asking.
    """
    before = None
    with suppress(ValueError):
        before = int(request.GET.get("before", ""))
    known = _known_state(before)
    context = {
        **(known or _NOTHING),
        "is_known": known is not None,
        "before": before,
        "contract": settings.GLISK_NFT_CONTRACT_ADDRESS,
        "network": {"BASE_MAINNET": "Base", "BASE_SEPOLIA": "Base Sepolia"}.get(
            settings.NETWORK, "a local network"
        ),
        "explorer": settings.EXPLORER_URL,
    }
    status = 503 if known is None else 200
    response = render(request, "tokens/gallery.html", context, status=status)
    # Our own files, and images from the gateway.
    response["Content-Security-Policy"] = (
        f"default-src 'none'; img-src 'self' {gateway_origin()}; style-src 'self'; "
        "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return response


@require_safe
@conditional_page
@cache_control(no_cache=True)
def gallery_updates(request: HttpRequest) -> HttpResponse:
    """Answer with the gallery's state, or with 304 if it is the one that the caller has."""
    state = _known_state(None)
    if state is None:
        return JsonResponse({"detail": "The tokens cannot be read at the moment."}, status=503)
    return JsonResponse(state)


def gallery_state(before: int | None) -> dict[str, Any]:
    """Return what the gallery shows; three queries, or two on an older page.

    Those that failed within the last day are among the tokens under way: people who wait should
    see it.
    """
    revealed = Token.objects.newest_first(status=TokenStatus.REVEALED, before=before)
    newest = list(revealed.without_texts()[:REVEALS_SHOWN])
    authors = Author.objects.by_wallets(token.prompt_author_wallet for token in newest)
    cards = [_card(token, authors.get(token.prompt_author_wallet.lower())) for token in newest]
    state = {"under_way": [], "revealed": cards, "older_url": ""}
    if len(cards) == REVEALS_SHOWN:
        state["older_url"] = f"{reverse('gallery')}?before={cards[-1]['token_id']}"
    if before is None:
        since = timezone.now() - FAILED_SHOWN_FOR
        failed = Q(status=TokenStatus.FAILED, mint_timestamp__gte=since)
        found = Token.objects.filter(Q(status__in=ACTIVE) | failed).without_texts()
        under_way = found.order_by("-mint_timestamp", "-token_id")[:UNDER_WAY_SHOWN]
        state["under_way"] = [
            {
                "token_id": token.pk,
                "status": token.status,
                "since": token.status_changed_at.isoformat(),
                "minted_at": token.mint_timestamp.isoformat(),
            }
            for token in under_way
        ]
    return state


def _known_state(before: int | None) -> dict[str, Any] | None:
    """Return the gallery's state, the newest one at most a second old.

    None while the database does not answer.
    """
    try:
        if before is None:
            return _newest.get("newest", lambda: gallery_state(None))
        return gallery_state(before)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("gallery_unknown", error=type(error).__name__)
        return None


def _card(token: Token, author: Author | None) -> dict[str, Any]:
    wallet = token.prompt_author_wallet
    handle = author and author.handle
    return {
        "token_id": token.pk,
        "name": token.name,
        "author": handle or f"{wallet[:6]}…{wallet[-4:]}",
        "author_address": wallet,
        "revealed_at": (token.revealed_at or token.status_changed_at).isoformat(),
        "image_url": gateway_url(token.image_cid),
        "metadata_url": gateway_url(token.metadata_cid),
        "explorer_url": token.explorer_url,
        "transaction_url": explorer_url("tx", token.reveal_tx_hash),
        "provenance_url": (
            reverse("token-provenance", args=[token.pk]) if _has_provenance(token) else ""
        ),
    }


def _has_provenance(token: Token) -> bool:
    """Tell whether we revealed it and know its mint; of others there is no bundle."""
    return token.adopted_uri is None and token.mint_event_id is not None

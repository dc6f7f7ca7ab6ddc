"""The search of the header: what somebody typed, found by its kind, as explorers do.

A number, a wallet, a hash, a CID, a handle or a vendor's id is compared for equality with its own
columns, each by an index; pages are found by a part of their names. Nothing is found that this user
may not see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from authors.models import Author
from glisk.admin.formatting import shortened
from glisk.admin.tables import as_cid, as_hash, as_id
from glisk.console.navigation import pages
from glisk.fields import parse_wallet
from reveals.models import RevealBatch, RevealTransaction
from tokens.models import ImageGenerationJob, IPFSUploadRecord, MintEvent, Token
from tokens.models.job import JobService
from webhooks.models import WebhookEvent

URL_NAME: Final = "admin-search"
_MOST: Final = 20  # hits of a kind
_MOST_COUNTED: Final = 1_000
_LONGEST: Final = 200
_HANDLE = re.compile(r"@?([A-Za-z0-9_.-]{1,50})")


class Hit(NamedTuple):
    """A page that was found; `kind` is the heading that it stands under."""

    kind: str
    title: str
    url: str
    note: str = ""


@admin.site.admin_view
def search_page(request: HttpRequest) -> HttpResponse:
    """Go to the only hit, or show all of them; while somebody types, only the list of them."""
    term = request.GET.get("q", "").replace("\x00", "").strip()[:_LONGEST]
    hits = list(find(request.user, term)) if term else []
    groups = [(kind, list(same)) for kind, same in groupby(hits, key=lambda hit: hit.kind)]
    context: dict[str, Any] = {"search_term": term, "groups": groups}
    if request.headers.get("HX-Request"):
        return TemplateResponse(request, "admin/search_hits.html", context)
    if len(hits) == 1:
        return HttpResponseRedirect(hits[0].url)
    context |= admin.site.each_context(request)
    context["title"] = "Search"
    return TemplateResponse(request, "admin/search.html", context)


def find(user: Any, term: str) -> Iterator[Hit]:
    """Yield what a term may mean, by kind; four queries at most, each by an index."""
    if (token_id := as_id(term)) is not None:
        yield from _tokens(user, Q(pk=token_id))
    elif (wallet := parse_wallet(term)) is not None:
        yield from _by_wallet(user, wallet)
    elif (tx_hash := as_hash(term)) is not None:
        yield from _by_hash(user, tx_hash)
    elif (cid := as_cid(term)) is not None:
        yield from _by_cid(user, cid)
    elif term.startswith("whevt_"):
        found = _seen(user, WebhookEvent).filter(event_id=term).values_list("pk", "status")
        for pk, status in found:
            yield Hit("Webhook events", term, _change("webhooks_webhookevent", pk), status)
    else:
        yield from _by_words(user, term)


def _seen(user: Any, model: Any) -> Any:
    """Return the rows of a table, or none if this user may not see them."""
    meta, rows = model._meta, model._default_manager.order_by()
    return rows if user.has_perm(f"{meta.app_label}.view_{meta.model_name}") else rows.none()


def _change(name: str, key: Any) -> str:
    return reverse(f"admin:{name}_change", args=[key])


def _tokens(user: Any, wanted: Q, limit: int = _MOST) -> Iterator[Hit]:
    found = _seen(user, Token).filter(wanted).select_related("author")
    facts = ("pk", "status", "minter_address", "author__twitter_handle", "author__farcaster_handle")
    for pk, status, minter, x, farcaster in found.values_list(*facts)[:limit]:
        by = f", prompt by @{x or farcaster}" if x or farcaster else ""
        note = f"{status}, minted by {shortened(minter)}{by}"
        yield Hit("Tokens", f"Token #{pk}", _change("tokens_token", pk), note)


def _by_wallet(user: Any, wallet: str) -> Iterator[Hit]:
    yield from _authors(_seen(user, Author).by_wallet(wallet))
    tokens, counts = _seen(user, Token), []
    for name, column in (("as author", "prompt_author_wallet"), ("as collector", "minter_address")):
        number = tokens.filter(**{column: wallet})[: _MOST_COUNTED + 1].count()
        if number:
            most = f"{_MOST_COUNTED:,}+" if number > _MOST_COUNTED else f"{number:,}"
            counts.append(f"{most} {name}")
    if counts:
        url = f"{reverse('admin:tokens_token_changelist')}?q={wallet}"
        yield Hit("Tokens", f"Tokens of {shortened(wallet)}", url, ", ".join(counts))
    if _seen(user, RevealBatch).filter(keeper=wallet)[:1].exists():
        url = f"{reverse('admin:reveals_revealbatch_changelist')}?q={wallet}"
        yield Hit("Keeper", f"Reveal batches of {shortened(wallet)}", url)


def _authors(found: QuerySet) -> Iterator[Hit]:
    facts = ("pk", "wallet_address", "twitter_handle", "farcaster_handle")
    for pk, wallet, x, farcaster in found.values_list(*facts)[:_MOST]:
        handle = x or farcaster
        title = f"@{handle}" if handle else shortened(wallet)
        yield Hit("Authors", title, _change("authors_author", pk), wallet)


def _by_hash(user: Any, tx_hash: str) -> Iterator[Hit]:
    sent = _seen(user, RevealTransaction).filter(tx_hash=tx_hash)
    ours = [
        Hit(
            "Reveal transactions",
            shortened(tx_hash),
            _change("reveals_revealtransaction", pk),
            f"{status}, nonce {nonce}",
        )
        for pk, status, nonce in sent.values_list("pk", "status", "nonce")
    ]
    yield from ours
    if not ours:  # ours name their tokens; these were revealed by others
        yield from _tokens(user, Q(reveal_tx_hash=tx_hash))
    minted = _seen(user, MintEvent).filter(tx_hash=tx_hash)
    for pk, first, number in minted.values_list("pk", "start_token_id", "quantity")[:_MOST]:
        tokens = f"token #{first}" if number == 1 else f"tokens #{first} to #{first + number - 1}"
        yield Hit("Mint events", shortened(tx_hash), _change("tokens_mintevent", pk), tokens)


def _by_cid(user: Any, cid: str) -> Iterator[Hit]:
    tokens = list(_tokens(user, Q(image_cid=cid) | Q(metadata_cid=cid)))
    yield from tokens
    if not tokens:  # a file of an image that was made again
        uploads = _seen(user, IPFSUploadRecord).filter(computed_cid=cid)
        for pk, kind, token_id in uploads.values_list("pk", "upload_type", "token_id")[:_MOST]:
            url = _change("tokens_ipfsuploadrecord", pk)
            yield Hit("IPFS uploads", shortened(cid), url, f"{kind} of token #{token_id}")


def _by_words(user: Any, term: str) -> Iterator[Hit]:
    """Yield authors by a handle, jobs by the vendor's id, and pages by a part of their names."""
    if handle := _HANDLE.fullmatch(term):
        name = handle[1].lower()
        handles = {"x": Lower("twitter_handle"), "farcaster": Lower("farcaster_handle")}
        named = _seen(user, Author).alias(**handles).filter(Q(x=name) | Q(farcaster=name))
        yield from _authors(named)
    jobs = _seen(user, ImageGenerationJob).filter(service__in=JobService.values, external_id=term)
    for pk, token_id in jobs.values_list("pk", "token_id"):
        url = _change("tokens_imagegenerationjob", pk)
        yield Hit("Generation jobs", term, url, f"token #{token_id}")
    wanted = term.lower()
    for group, found in pages(user).items():
        for page in found:
            if wanted in page.title.lower() or any(
                word.startswith(wanted) for word in page.words.split()
            ):
                yield Hit("Pages", page.title, page.link, group)

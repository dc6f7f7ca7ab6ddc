"""The top of a token's admin page: state, problem, what to do, whose it is, what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from glisk.admin.formatting import admin_link, duration, moment, wallet_link
from glisk.clients.links import explorer_url, gateway_url
from glisk.management.base import counted
from tokens.admin.pictures import picture_url
from tokens.admin.records import usd
from tokens.admin.timeline import TOKEN_LABELS, timeline_of
from tokens.models import Token
from tokens.models.artefact import UploadStatus
from tokens.states import TokenStatus

_WAY = [status for status in TokenStatus if status is not TokenStatus.FAILED]
_ENTRIES_SHOWN: Final = 12  # more than a token without troubles has

# What keeps a token from going on: sources of console.troubles.Trouble, which stands above.
WAITS: list[Callable[[Token], Iterable[Any]]] = []
# The same for lists: by state what its tokens wait for, in a few words.
STATES_WAIT: list[Callable[[], dict[TokenStatus, str]]] = []


def token_summary(token: Token) -> dict[str, Any]:
    """Return what the template shows; no query but those of others."""
    image = getattr(token, "image", None)
    entries = timeline_of(token)
    moves = token.transitions.all()
    reached = {token.status, TokenStatus.DETECTED, *(move.to_status for move in moves)}
    advice = advice_for_waiting if token.status == TokenStatus.READY else advice_for_class
    return {
        "token": token,
        "image": image,
        "picture_url": picture_url(token.pk, image.sha256) if image else "",
        "gateway_picture_url": gateway_url(pinned(token, token.image_cid)),
        "label": TOKEN_LABELS[TokenStatus(token.status)],
        "steps": [
            {"name": status.label, "reached": status in reached, "now": status == token.status}
            for status in _WAY
        ],
        "facts": [(name, value) for name, value in _facts(token, image) if value],
        "links": [link for link in _links(token) if link["url"]],
        "timeline": entries[:_ENTRIES_SHOWN],
        "earlier": entries[_ENTRIES_SHOWN:],
        "again": _again(token),
        "waits": token.status == TokenStatus.READY,
        "advice": advice(token.error_class),
        "waits_for": [wait for source in WAITS for wait in source(token)],
    }


def pinned(token: Token, cid: str | None) -> str:
    """Return the CID of a file that is known to be on IPFS, or an empty text."""
    is_complete = token.status in (TokenStatus.READY, TokenStatus.REVEALED)
    stored = {
        record.returned_cid
        for record in token.upload_records.all()
        if record.status == UploadStatus.SUCCEEDED
    }
    return cid if cid and (is_complete or cid in stored) else ""


def _again(token: Token) -> str:
    """Return when a failed token is taken up again without a person, or an empty text."""
    if token.status != TokenStatus.FAILED or token.next_attempt_at is None:
        return ""
    left = (token.next_attempt_at - timezone.now()).total_seconds()
    if left <= 0:
        return "It is tried again as soon as its stage works and the daily cap allows it."
    return f"It is tried again at {moment(token.next_attempt_at)}, in {duration(left)}."


def _facts(token: Token, image: Any) -> Iterable[tuple[str, SafeString | str]]:
    """Yield what one asks first about a token, by name."""
    passed = duration((timezone.now() - token.mint_timestamp).total_seconds())
    yield "Minted", f"{passed} ago, {moment(token.mint_timestamp)}"
    yield "Minter", wallet_link(token.minter_address)
    yield "Author", author_of(token)
    yield "Prompt", format_html('<span class="glisk-prompt">{}</span>', token.prompt)
    if token.fallback_used:
        yield "Fallback", "The vendor refused this prompt: the fallback prompt is used."
    if image is not None:
        kind = image.mime_type.removeprefix("image/").upper()
        yield "Image", f"{image.width} × {image.height} {kind}, {image.size_bytes / 1000:,.0f} kB"
    costs = [job.cost_usd for job in token.generation_jobs.all() if job.cost_usd]
    if costs:
        yield "Paid", f"{usd(sum(costs, Decimal()))} for {counted(len(costs), 'prediction')}"


def author_of(token: Token) -> SafeString:
    """Return the author as one knows them, and the wallet that the collector named."""
    author, wallet = token.author, token.prompt_author_wallet
    if author.wallet_address.lower() != wallet.lower():
        name = admin_link(author, "not registered: default prompt")
    else:
        name = admin_link(author, author.handle or "registered")
    return format_html("{} {}", wallet_link(wallet), name)


def _links(token: Token) -> list[dict[str, str]]:
    batches = reverse("admin:reveals_revealbatch_changelist")
    was_ready = any(move.to_status == TokenStatus.READY for move in token.transitions.all())
    return [
        {"label": "Token", "url": token.explorer_url},
        {"label": "Reveal transaction", "url": explorer_url("tx", token.reveal_tx_hash)},
        {"label": "Image", "url": gateway_url(pinned(token, token.image_cid))},
        {"label": "Metadata", "url": gateway_url(pinned(token, token.metadata_cid))},
        {"label": "Contract", "url": explorer_url("address", settings.GLISK_NFT_CONTRACT_ADDRESS)},
        {
            "label": "Reveal batches",
            "url": f"{batches}?items__token__token_id={token.pk}" if was_ready else "",
        },
    ]


# What the same classes mean while a ready token waits for its reveal: nothing failed.
_AT_THE_GATE: Final[dict[str, str]] = {
    "artefact": "Open its files at the gateway (links on its page). Once the right bytes are there "
    "it goes on within two minutes; a second gateway in PINATA_GATEWAY helps at once.",
    "transient": "Nothing, if gateway and node come back: it goes on within two minutes.",
}

ADVICE: Final[dict[str, str]] = {
    "content_policy": (
        "A mint keeps the prompt it was made with, so only another FALLBACK_CENSORED_PROMPT helps: "
        "set it, restart the workers, then retry. Later mints need a new prompt of the author."
    ),
    "validation": "Correct the author's prompt (1 to 1,000 characters), then retry.",
    "transient": "The vendor failed it three times. It is tried again, later and later: "
    "its page says when. After that, or to hurry it, retry it.",
    "artefact": "What came was no image, three times: retry, or change the prompt.",
    "no_image": "The model ended well without an image: check the prediction and "
    "REPLICATE_MODEL_VERSION, then retry.",
    "cid_mismatch": "Pinata stored other bytes. Compare the pinned file, then retry.",
    "author_differs": "Recheck it; if it stays, compare the contract with the mint.",
    "already_revealed": "It cannot be changed. Find out who else holds KEEPER_ROLE.",
    "would_revert": "The reason is the contract's. Recheck it, then retry.",
    "stalled": "It killed its worker again and again: read the workers' logs, then retry.",
    "storage": "The image's bytes are gone: regenerate it.",
    "operator": "Somebody gave it up; the reason stands in the timeline. A retry lets it go on.",
    "unexpected": "A fault of this program: the worker's log has the traceback. Then retry.",
    "unconfirmed": "Nothing to do: its mint waits for confirmations.",
    "not_minted": "The node lags or a reorg took the mint: compare it with an explorer.",
    "reorged": "The node lags or a reorg took the mint: compare it with an explorer.",
}


def advice_for_class(error_class: str) -> str:
    """Return what to do about a token's error class, or an empty text."""
    return ADVICE.get(error_class, "")


def advice_for_waiting(error_class: str) -> str:
    """Return what to do about a token that the gate turned away, and that is tried again."""
    return _AT_THE_GATE.get(error_class, "") or advice_for_class(error_class)

"""The top of a token's admin page: picture, progress, links, timeline."""

from itertools import pairwise
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from glisk.display import duration, instant, shortened
from glisk.links import explorer_address_url, explorer_transaction_url, gateway_url
from tokens.admin.labels import TOKEN_LABELS
from tokens.models import Token, TokenImage
from tokens.states import TERMINAL, TokenStatus

_WAY = [status for status in TokenStatus if status is not TokenStatus.FAILED]


def token_summary(token: Token) -> dict[str, Any]:
    """Return what the template shows; two queries."""
    image = TokenImage.objects.filter(pk=token.pk).defer("data").first()
    moves = list(token.transitions.order_by("id"))
    reached = {token.status, TokenStatus.DETECTED, *(move.to_status for move in moves)}
    return {
        "token": token,
        "image": image,
        "picture_url": picture_url(token.pk, image.sha256) if image else "",
        "gateway_picture_url": gateway_url(token.image_cid),
        "label": TOKEN_LABELS[TokenStatus(token.status)],
        "steps": [
            {"name": status.label, "reached": status in reached, "now": status == token.status}
            for status in _WAY
        ],
        "links": [link for link in _links(token) if link["url"]],
        "timeline": _timeline(token, moves),
    }


def picture_url(token_id: int, sha256: str, *, thumbnail: bool = False) -> str:
    """Return the staff-only address of a token's image; it changes with the image."""
    name = "admin:tokens_token_thumbnail" if thumbnail else "admin:tokens_token_picture"
    return f"{reverse(name, args=[token_id])}?v={sha256[:16]}"


def _links(token: Token) -> list[dict[str, str]]:
    author = token.prompt_author_wallet
    batches = reverse("admin:reveals_revealbatch_changelist")
    return [
        {"label": "Token on the explorer", "url": token.explorer_url},
        {
            "label": "Reveal transaction",
            "url": explorer_transaction_url(token.reveal_tx_hash),
        },
        {"label": "Image on IPFS", "url": gateway_url(token.image_cid)},
        {"label": "Metadata on IPFS", "url": gateway_url(token.metadata_cid)},
        {"label": f"Author {shortened(author)}", "url": explorer_address_url(author)},
        {
            "label": "Contract",
            "url": explorer_address_url(settings.GLISK_NFT_CONTRACT_ADDRESS),
        },
        {"label": "Reveal batches", "url": f"{batches}?items__token__token_id={token.pk}"},
    ]


def _timeline(token: Token, moves: list[Any]) -> list[dict[str, Any]]:
    """Return the moves with the time from each to the next; the last one's still runs."""
    entries: list[dict[str, Any]] = [
        {
            "move": move,
            "at": instant(move.created_at),
            "label": TOKEN_LABELS[TokenStatus(move.to_status)],
            "facts": _facts(move.detail),
        }
        for move in moves
    ]
    for entry, (earlier, later) in zip(entries[1:], pairwise(moves), strict=True):
        entry["after"] = duration((later.created_at - earlier.created_at).total_seconds())
    if moves and token.status not in TERMINAL:
        entries[-1]["since"] = duration((timezone.now() - moves[-1].created_at).total_seconds())
    return entries


def _facts(detail: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a person wants to know of a move: refused prompts, and artefacts let go."""
    facts: dict[str, Any] = {
        name: detail[name] for name in ("original_prompt", "old_prompt") if name in detail
    }
    facts |= {f"old {name}": value for name, value in detail.get("old", {}).items()}
    return [(name.replace("_", " "), str(value)) for name, value in facts.items()]

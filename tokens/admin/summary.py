"""The top of a token's admin page: picture, progress, links, timeline."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from glisk.admin.formatting import duration, shortened
from glisk.clients.links import explorer_address_url, explorer_transaction_url, gateway_url
from tokens.admin.error_classes import advice_for_class, advice_for_waiting
from tokens.admin.labels import TOKEN_LABELS
from tokens.admin.timeline import timeline
from tokens.models import Token, TokenImage
from tokens.states import TokenStatus

_WAY = [status for status in TokenStatus if status is not TokenStatus.FAILED]


class Wait(Protocol):
    """What keeps a token from going on, and what to do about it (console.troubles.Trouble)."""

    @property
    def headline(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def advice(self) -> str: ...


_waits: list[Callable[[Token], Sequence[Wait]]] = []


def register_waits(source: Callable[[Token], Sequence[Wait]]) -> None:
    """Let a module above the apps tell what tokens wait for; called while its admin loads."""
    if source not in _waits:
        _waits.append(source)


def token_summary(token: Token) -> dict[str, Any]:
    """Return what the template shows; four queries, and those of others."""
    image = TokenImage.objects.filter(pk=token.pk).defer("data").first()
    moves = list(token.transitions.order_by("id"))
    reached = {token.status, TokenStatus.DETECTED, *(move.to_status for move in moves)}
    advice = advice_for_waiting if token.status == TokenStatus.READY else advice_for_class
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
        "timeline": timeline(token, moves),
        "again": _again(token),
        "waits": token.status == TokenStatus.READY,
        "advice": advice(token.error_class),
        "waits_for": [wait for source in _waits for wait in source(token)],
    }


def _again(token: Token) -> str:
    """Return when a failed token is taken up again without a person, or an empty text."""
    if token.status != TokenStatus.FAILED or token.next_attempt_at is None:
        return ""
    left = (token.next_attempt_at - timezone.now()).total_seconds()
    if left <= 0:
        return "It is tried again by itself as soon as its stage works and the daily cap allows it."
    at = f"{token.next_attempt_at:%d %b %H:%M} UTC"
    return f"It is tried again by itself at {at}, in {duration(left)}."


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

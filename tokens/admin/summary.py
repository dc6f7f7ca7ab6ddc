"""The top of a token's admin page: picture, progress, links, timeline."""

from typing import Any

from django.conf import settings
from django.urls import reverse

from glisk.advice import (
    advice_for_breaker,
    advice_for_class,
    advice_for_waiting,
    headline_for_breaker,
    reason_for_breaker,
)
from glisk.controls import list_breakers, list_pauses
from glisk.display import shortened
from glisk.links import explorer_address_url, explorer_transaction_url, gateway_url
from tokens.admin.labels import TOKEN_LABELS
from tokens.admin.timeline import timeline
from tokens.models import Token, TokenImage
from tokens.states import TokenStatus

# The stage that a token in this state is in, and the vendors that it calls.
_STAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    TokenStatus.DETECTED: ("generation", ("replicate", "selfhosted")),
    TokenStatus.GENERATING: ("generation", ("replicate", "selfhosted")),
    TokenStatus.UPLOADING: ("upload", ("pinata",)),
    TokenStatus.READY: ("reveal", ("gateway", "chain")),
}
_WAY = [status for status in TokenStatus if status is not TokenStatus.FAILED]


def token_summary(token: Token) -> dict[str, Any]:
    """Return what the template shows; six queries, and those of other apps."""
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
        "waits": token.status == TokenStatus.READY,
        "advice": advice(token.error_class),
        "waits_for": _waits_for(token),
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


def _waits_for(token: Token) -> list[dict[str, str]]:
    """Return what holds back the token's stage: a pause, vendors that are not called."""
    if token.status not in _STAGES:
        return []
    stage, vendors = _STAGES[token.status]
    found = [
        {"what": f"The stage {stage} is paused", "why": pause.reason, "advice": ""}
        for pause in list_pauses()
        if pause.stage == stage
    ]
    found += [
        {
            "what": headline_for_breaker(breaker.name),
            "why": reason_for_breaker(breaker.name, breaker.reason),
            "advice": advice_for_breaker(breaker.name, breaker.reason),
        }
        for breaker in list_breakers()
        if breaker.name in vendors and breaker.is_open
    ]
    return found

"""Whether Alchemy's webhooks still come: mints that only the chain told of say no."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from glisk.clock import database_now
from tokens.models import MintEvent
from tokens.models.mint import MintSource
from webhooks.models import WebhookEvent

# A look at the chain may be faster than the webhook by so much.
_LATE_SECONDS = 60
_WITHIN = timedelta(hours=24)  # older mints are history that was read, or long known
_MOST = 1000


@dataclass(frozen=True)
class MissingWebhooks:
    """`mints` have been read from the chain since the last webhook (None: there never was one)."""

    last_at: datetime | None
    mints: int
    are_more: bool
    first_mint_at: datetime


def missing_webhooks() -> MissingWebhooks | None:
    """Return what came without a webhook, or None; two queries, each by an index.

    Nobody misses a webhook where none is set up: then the endpoint has no key.
    """
    if not any(settings.ALCHEMY_WEBHOOK_SECRETS):
        return None
    now = database_now()
    newest = (
        MintEvent.objects.filter(source=MintSource.BACKFILL)
        .order_by("-block_number", "-log_index")
        .values_list("block_timestamp", flat=True)[:_MOST]
    )
    missed = [minted_at for minted_at in newest if minted_at > now - _WITHIN]
    if not missed:
        return None
    events = WebhookEvent.objects.order_by("-received_at")
    last_at = events.values_list("received_at", flat=True).first()
    missed = [minted_at for minted_at in missed if last_at is None or minted_at > last_at]
    if not missed or now - missed[-1] < timedelta(seconds=_LATE_SECONDS):
        return None
    return MissingWebhooks(last_at, len(missed), len(missed) == _MOST, missed[-1])
